"""sbom.cdx.json: the packages and models that a release is made of and runs on, as CycloneDX 1.6.

The same content gives the same bytes: there is no time in it, and the serial number is derived from
the rest.
"""

import json
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from pipelines.errors import UserError
from pipelines.system.locked_packages import Package

FILE = "sbom.cdx.json"
NAME = "assistant"
# What the hash of a folder is, since CycloneDX knows those of files alone.
DIGEST = (
    "sha256 of the lines `name NUL sha256 of the file`, sorted by name, over all files of the "
    "folder (pipelines/files.py: digest)"
)


class Model(NamedTuple):
    """A model of the release: the candidate, or what it was made from or is asked with."""

    role: str  # candidate, base, encoder
    name: str
    revision: str | None
    licence: str | None  # as its authors name it; None: not stated
    digest: str  # of its folder


def name_of(model: str) -> str:
    """An encoder's name without the path of this machine, if it is a folder outside the clone."""
    path = PurePath(model)
    return f"folder:{path.name}" if path.is_absolute() else model


def render(candidate: Model, models: Iterable[Model], packages: Iterable[Package]) -> str:
    """The JSON text, checked against CycloneDX's schema. `models`: those it was made from.

    No part may come twice: the library gives both a random name then.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.output.json import JsonV1Dot6

    bom = Bom(serial_number=uuid.UUID(int=0))
    bom.metadata.timestamp = None  # type: ignore[assignment]
    root = _model_component(candidate)
    bom.metadata.component = root
    parts = [_model_component(model) for model in models]
    parts += [_package_component(package) for package in packages]
    references = {str(part.bom_ref) for part in parts}
    assert len(references) == len(parts), "a package or model is listed twice"
    bom.components.update(parts)
    bom.register_dependency(root, parts)
    content = JsonV1Dot6(bom).output_as_string(indent=1)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, content)
    text = f"{JsonV1Dot6(bom).output_as_string(indent=1)}\n"
    _demand_valid(text)
    return text


def read(path: Path, candidate: str) -> str:
    """The text of a list that `render` has made. `candidate`: digest of its adapter.

    Raises UserError if it is missing, or about another candidate.
    """
    try:
        text = path.read_text(encoding="utf-8")
        hashes = json.loads(text)["metadata"]["component"]["hashes"]
        digest = str(hashes[0]["content"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: is missing or damaged ({error!r}): `dvc repro gate`") from error
    if digest != candidate:
        raise UserError(
            f"{path}: is about candidate {digest[:12]}, not {candidate[:12]}: `dvc repro gate`"
        )
    return text


def _model_component(model: Model) -> Any:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=model.name,
        version=model.revision,
        description=f"{model.role} model",
        bom_ref=f"model:{model.role}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=model.digest)],
        licenses=_licences(model.licence),
        properties=[Property(name=f"{NAME}:digest", value=DIGEST)],
    )


def _package_component(package: Package) -> Any:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    url = PackageURL("pypi", None, package.name, package.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=url,
        bom_ref=f"{url}",
        licenses=_licences(package.licence),
        properties=[Property(name=f"{NAME}:list", value=line) for line in package.lists],
    )


def _licences(name: str | None) -> list[Any]:
    """An SPDX expression; another name as it is; nothing if none is stated."""
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if name is None:
        return []
    try:
        return [LicenseExpression(canonicalize_license_expression(name))]
    except InvalidLicenseExpression:
        return [DisjunctiveLicense(name=name)]


def _demand_valid(text: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert problem is None, f"{FILE} breaks CycloneDX's schema: {problem}"
