"""`gate` of params.yaml: what a candidate must reach."""

from pydantic import Field, field_validator

from pipelines.config.section import FEWER, HIGHER, LOWER, MORE, Section


class GateConfig(Section):
    """Floors, margins and minimum evidence."""

    floors: dict[str, float] = Field(
        json_schema_extra=LOWER,
        min_length=1,
        description="metric of the candidate -> smallest value of its interval's lower end",
    )
    min_gain_over_base: float = Field(
        json_schema_extra=LOWER,
        ge=0,
        description="exact match by which the candidate must beat the base model, at the lower end "
        "of the paired interval",
    )
    champion_metrics: list[str] = Field(
        json_schema_extra=FEWER,
        min_length=1,
        description="metrics in which the candidate is compared with the champion",
    )
    champion_margin: float = Field(
        json_schema_extra=HIGHER,
        ge=0,
        lt=1,
        description="how much worse than the champion the lower end of the paired interval may be",
    )
    max_slice_drop: float = Field(
        json_schema_extra=HIGHER,
        ge=0,
        le=1,
        description="drop of exact match against the champion that no slice may exceed by more "
        "than chance explains",
    )
    min_slice_score: float = Field(
        json_schema_extra=LOWER, ge=0, le=1, description="exact match that every slice must reach"
    )
    licences: list[str] = Field(
        json_schema_extra=MORE,
        description="licences that base model and encoder may have, as their cards name them "
        "(apache-2.0); `not stated` allows a model whose authors do not say",
    )
    package_licences: list[str] = Field(
        json_schema_extra=MORE,
        description="SPDX names of the licences that Python packages may have (MIT); "
        "`LicenseRef-` begins those that SPDX does not name",
    )
    package_exceptions: dict[str, str] = Field(
        json_schema_extra=MORE,
        description="package -> why it is allowed although it states no licence, or one that is "
        "not on the list",
    )
    min_questions: int = Field(
        json_schema_extra=LOWER,
        ge=1,
        description="golden questions; fewer are not enough for a decision",
    )
    min_slice_questions: int = Field(
        json_schema_extra=HIGHER,
        ge=1,
        description="questions that a slice needs before its score is judged",
    )

    @field_validator("package_exceptions")
    @classmethod
    def _each_has_a_reason(cls, exceptions: dict[str, str]) -> dict[str, str]:
        for package, reason in exceptions.items():
            if not reason.strip():
                raise ValueError(f"{package}: say why this package is allowed")
        return exceptions
