"""Compare the licences in infra/requirements/licences.json with what the packages here state.

The gate reads that file, which says the same on every machine. A package that is pinned but not
installed here keeps its entry.
"""

import argparse
from pathlib import Path

from pipelines import files
from pipelines.contracts.package_licences import PackageLicences
from pipelines.system import locked_packages, stated_licences

FOLDER = Path("infra/requirements")
TABLE = FOLDER / "licences.json"
# Virtual environment -> the lists that it is made of. They are those whose code a release runs.
ENVIRONMENTS = {".venv": ("pipeline", "models"), ".venv-triton": ("triton",)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write", action="store_true", help=f"write {TABLE} anew")


def run(write: bool) -> int:
    """Print every difference; exit code 1 if there is one and it was not written."""
    before = files.read_json(TABLE, PackageLicences).root if TABLE.exists() else {}
    after = read(before)
    changes: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, "no entry"), after.get(key, "no entry")
        if old != new:
            changes.append(f"  {key}: {old or 'not stated'} -> {new or 'not stated'}")
    if not changes:
        print(f"{TABLE} holds what the packages state")
        return 0
    print(f"{TABLE}:", *changes, sep="\n")
    if not write:
        print(f"{len(changes)} differences: `python -m pipelines licences --write` writes them")
        return 1
    files.write_json(TABLE, PackageLicences(after).root)
    return 0


def read(table: dict[str, str | None]) -> dict[str, str | None]:
    """The licence of every pinned package: as it states it here, else as the table has it."""
    licences: dict[str, str | None] = {}
    for environment, lists in ENVIRONMENTS.items():
        metadata = stated_licences.read(Path(environment))
        for name in lists:
            for pin in locked_packages.pins(FOLDER / f"{name}.txt"):
                source = metadata if pin.key in metadata else table
                if pin.key in source:
                    licences[pin.key] = source[pin.key]
    return dict(sorted(licences.items()))
