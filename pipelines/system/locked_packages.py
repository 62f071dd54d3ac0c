"""The packages that infra/requirements pins, with the licence that each states.

Both are files of this repository, so they say the same on every machine, whatever is installed.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.markers import Marker
from packaging.requirements import Requirement

from pipelines import files
from pipelines.contracts.package_licences import PackageLicences
from pipelines.errors import UserError

REMEDY = "`make setup`, then `python -m pipelines licences --write`"
# What the environments are made for: Linux with these versions of Python.
PYTHON_VERSIONS = ("3.11.0", "3.11.9", "3.12.0", "3.13.0")
MACHINES = ("x86_64", "aarch64")
MAX_NAMES = 5  # in a message


class Pin(NamedTuple):
    """A line of a list of packages; `marker` says where it is installed, if not everywhere."""

    name: str
    version: str
    marker: str

    @property
    def key(self) -> str:
        return f"{self.name}=={self.version}"


class Package(NamedTuple):
    """A version of a package, and the lists that have it."""

    name: str
    version: str
    licence: str | None  # an SPDX expression; None: not stated
    lists: tuple[str, ...]  # `pipeline`, or `pipeline ; python_full_version < "3.12"`

    @property
    def key(self) -> str:
        return f"{self.name}=={self.version}"


def read(lists: Sequence[Path], table: Path) -> list[Package]:
    """Every package of these lists that Linux can have, sorted.

    Raises UserError if `table` does not know one of them.
    """
    licences = files.read_json(table, PackageLicences).root
    lines: dict[tuple[str, str], list[str]] = {}
    for path in lists:
        for pin in pins(path):
            line = f"{path.stem} ; {pin.marker}" if pin.marker else path.stem
            lines.setdefault((pin.name, pin.version), []).append(line)
    packages: list[Package] = []
    unknown: list[str] = []
    for (name, version), names in sorted(lines.items()):
        package = Package(name, version, licences.get(f"{name}=={version}"), tuple(sorted(names)))
        packages.append(package)
        if package.key not in licences:
            unknown.append(package.key)
    if unknown:
        more = f" and {len(unknown) - MAX_NAMES} more" if len(unknown) > MAX_NAMES else ""
        raise UserError(
            f"{table}: has no licence of {', '.join(unknown[:MAX_NAMES])}{more}: {REMEDY}. Add a "
            "package that is not installed on this machine by hand"
        )
    return packages


def pins(path: Path) -> Iterator[Pin]:
    """The lines of a list that can be installed on Linux."""
    for line in path.read_text(encoding="utf-8").splitlines():
        requirement = Requirement(line)
        if requirement.marker is None or _is_for_linux(requirement.marker):
            [specifier] = requirement.specifier
            yield Pin(requirement.name, specifier.version, str(requirement.marker or ""))


def _is_for_linux(marker: Marker) -> bool:
    for version in PYTHON_VERSIONS:
        for machine in MACHINES:
            if marker.evaluate(_environment(version, machine)):
                return True
    return False


def _environment(version: str, machine: str) -> dict[str, str]:
    """All that a marker can ask for, so that nothing is asked of this machine."""
    return {
        "implementation_name": "cpython",
        "implementation_version": version,
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": version,
        "python_version": version.rpartition(".")[0],
        "sys_platform": "linux",
    }
