"""What packages say about their licence, as SPDX writes it."""

import email.message
import importlib.metadata
from typing import cast

import pytest

from pipelines.system import stated_licences

MIT = "License :: OSI Approved :: MIT License"
BSD = "License :: OSI Approved :: BSD License"
ZOPE = "License :: OSI Approved :: Zope Public License"
GENERIC = "License :: OSI Approved"
BEGINNING = "MIT License\n\nCopyright (c) 2022 Ada\n\nPermission is hereby granted"


def metadata(**fields: list[str]) -> importlib.metadata.PackageMetadata:
    message = email.message.Message()
    for name, values in fields.items():
        for value in values:
            message[name.replace("_", "-")] = value
    return cast(importlib.metadata.PackageMetadata, message)


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": ["mit and apache-2.0"], "Classifier": [BSD]}, "MIT AND Apache-2.0"),
        ({"License_Expression": ["LicenseRef-NVIDIA"]}, "LicenseRef-NVIDIA"),
        ({"Classifier": ["Framework :: Pytest", MIT], "License": ["BSD"]}, "MIT"),
        ({"Classifier": [BSD], "License": ["BSD-3-Clause"]}, "BSD-3-Clause"),
        ({"Classifier": [BSD], "License": ["BSD"]}, "LicenseRef-BSD"),
        ({"Classifier": [ZOPE], "License": ["ZPL-2.1"]}, "ZPL-2.1"),
        ({"Classifier": [GENERIC], "License": ["Apache License 2.0"]}, "Apache-2.0"),
        # Whether both hold or one is enough, no classifier says.
        ({"Classifier": [BSD, MIT], "License": ["Dual License"]}, "LicenseRef-BSD AND MIT"),
        ({"License": [BEGINNING]}, "MIT"),
        ({"License": ["GPLv2 with linking exception"]}, "LicenseRef-GPLv2-with-linking-exception"),
        ({"License": [""], "Classifier": ["Framework :: Pytest"]}, None),
        ({}, None),
    ],
)
def test_the_most_exact_statement_counts(fields: dict[str, list[str]], licence: str | None) -> None:
    assert stated_licences.licence_of(metadata(**fields)) == licence
