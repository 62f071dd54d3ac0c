"""`redact` of params.yaml: which personal data is looked for, and what replaces it."""

import re
from typing import Literal

from pydantic import Field, field_validator

from pipelines.config.section import ANY_CHANGE, HIGHER, MORE, Section, in_order

Action = Literal["mask", "hash", "remove", "keep"]


class RedactConfig(Section):
    """Types of personal data, actions, and what is never personal."""

    actions: dict[str, Action] = Field(
        json_schema_extra=in_order("remove", "mask", "hash", "keep"),
        description="type of Presidio -> mask (a numbered name), hash (a keyed code), remove or "
        "keep; other types are not looked for",
    )
    min_score: float = Field(
        json_schema_extra=HIGHER,
        gt=0,
        le=1,
        description="Presidio's confidence from which a match counts",
    )
    allow: list[str] = Field(
        json_schema_extra=MORE,
        description="regular expressions; a value that one of them matches in full is not personal",
    )
    names_model: str | None = Field(
        json_schema_extra=ANY_CHANGE,
        description="folder or installed package of a spaCy pipeline that detects names and places "
        "(types PERSON, LOCATION, ORGANIZATION, NRP); null: they are not looked for",
    )

    @field_validator("actions")
    @classmethod
    def _check_types(cls, actions: dict[str, Action]) -> dict[str, Action]:
        invalid = sorted(name for name in actions if not re.fullmatch(r"[A-Z][A-Z0-9_]+", name))
        if invalid:
            raise ValueError(
                f"{invalid[0]!r} is not a type of personal data: Presidio's types are written like "
                "EMAIL_ADDRESS"
            )
        return actions

    @field_validator("allow")
    @classmethod
    def _check_patterns(cls, allow: list[str]) -> list[str]:
        for pattern in allow:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return allow
