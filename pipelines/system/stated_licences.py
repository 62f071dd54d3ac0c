"""The licence that an installed package states in its metadata, as an SPDX expression."""

import importlib.metadata
import re
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

CLASSIFIER = "License :: "
# The last part of a classifier -> SPDX. Others name no version or no licence at all.
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# The first line of the free text, in lower case -> SPDX.
TEXTS = {
    "2-clause bsd": "BSD-2-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "mit license": "MIT",
    "new bsd": "BSD-3-Clause",
    "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
    "psfl": "PSF-2.0",
}
GENERIC = "OSI Approved"  # a classifier that names no licence
MAX_CHARACTERS = 60  # of a licence in the package's own words


def read(environment: Path) -> dict[str, str | None]:
    """`name==version` -> licence, of each package of a virtual environment."""
    licences: dict[str, str | None] = {}
    folders = [str(path) for path in environment.glob("lib/python3*/site-packages")]
    for package in importlib.metadata.distributions(path=folders):
        version = package.version.partition("+")[0]  # `+cpu`, a build of torch
        licences[f"{canonicalize_name(package.name)}=={version}"] = licence_of(package.metadata)
    return licences


def licence_of(metadata: importlib.metadata.PackageMetadata) -> str | None:
    """`License-Expression`, else the classifiers, else the free text; None without all three.

    Several classifiers hold together (`AND`), since they do not say that one may choose. The free
    text comes before a classifier that leaves the version open, such as `BSD License`.
    """
    fields: dict[str, list[str]] = {}
    for name in ("License-Expression", "License", "Classifier"):
        fields[name] = [str(value).strip() for value in metadata.get_all(name) or []]
    for expression in fields["License-Expression"]:
        return _to_spdx(expression) or _in_own_words(expression)
    text = next(iter(fields["License"]), "")
    classifiers = _classifiers(fields["Classifier"])
    if classifiers and all(name in CLASSIFIERS for name in classifiers):
        return " AND ".join(sorted({CLASSIFIERS[name] for name in classifiers}))
    spdx_text = _to_spdx(text)
    if spdx_text and len(classifiers) < 2:
        return spdx_text
    if classifiers:
        names = {CLASSIFIERS.get(name) or _in_own_words(name) for name in classifiers}
        return " AND ".join(sorted(names))
    return _in_own_words(text) if text else None


def _classifiers(lines: list[str]) -> list[str]:
    names = [line.split(" :: ")[-1] for line in lines if line.startswith(CLASSIFIER)]
    return [name for name in names if name != GENERIC]


def _to_spdx(text: str) -> str | None:
    """The text as SPDX writes it; None if it is no SPDX expression and no usual wording."""
    first_line = text.partition("\n")[0].strip()
    usual = TEXTS.get(first_line.lower())
    if usual:
        return usual
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return None


def _in_own_words(text: str) -> str:
    """`BSD License` is `LicenseRef-BSD`: SPDX wants letters, digits, `.` and `-`."""
    words = text.partition("\n")[0].strip()[:MAX_CHARACTERS].removesuffix(" License")
    return "LicenseRef-" + re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-")
