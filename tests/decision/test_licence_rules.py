"""Which SPDX expressions a list of licences allows."""

import pytest

from pipelines.decision import licence_rules


@pytest.mark.parametrize(
    ("expression", "is_allowed"),
    [
        ("MIT", True),
        ("mit", True),
        ("GPL-3.0-only", False),
        ("MIT AND Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND (GPL-3.0-only OR Apache-2.0)", True),
        ("GPL-3.0-only AND (MIT OR Apache-2.0)", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("LicenseRef-Ours", True),
        ("LicenseRef-Theirs", False),
    ],
)
def test_each_needed_licence_must_be_on_the_list(expression: str, is_allowed: bool) -> None:
    names = {"mit", "apache-2.0", "licenseref-ours"}
    assert licence_rules.is_allowed(expression, names) is is_allowed
