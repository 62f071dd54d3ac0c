"""`redact` of params.yaml: which personal data is looked for, and what becomes of it."""

import re
from typing import Literal

from pydantic import Field, field_validator

from pipelines.config.section import Section

Action = Literal["mask", "hash", "remove", "keep"]


class RedactConfig(Section):
    """Types of personal data, actions, and what is never personal."""

    actions: dict[str, Action] = Field(description="type of Presidio -> mask (a numbered name), hash (a keyed code), remove or keep; other types are not looked for")
    min_score: float = Field(gt=0, le=1, description="Presidio's confidence from which a find counts")
    allow: list[str] = Field(description="regular expressions; what one of them matches whole is no personal data")
    names_model: str | None = Field(
        description="folder or installed package of a spaCy pipeline that finds names and places (types PERSON, LOCATION, ORGANIZATION, NRP); null: they are not looked for"
    )

    @field_validator("actions")
    @classmethod
    def _types_are_known(cls, actions: dict[str, Action]) -> dict[str, Action]:
        unknown = sorted(name for name in actions if not re.fullmatch(r"[A-Z][A-Z0-9_]+", name))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no type of personal data: Presidio's types are written like EMAIL_ADDRESS")
        return actions

    @field_validator("allow")
    @classmethod
    def _patterns_compile(cls, allow: list[str]) -> list[str]:
        for pattern in allow:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return allow
