"""`gate` of params.yaml: what a candidate must reach."""

from pydantic import Field

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
