"""`gate` of params.yaml: what a candidate must reach."""

from pydantic import Field

from pipelines.config.section import Section


class GateConfig(Section):
    """Floors, margins and minimum evidence."""

    floors: dict[str, float] = Field(
        min_length=1,
        description="metric of the candidate -> smallest value of its interval's lower end",
    )
    min_gain_over_base: float = Field(
        ge=0,
        description="exact match by which the candidate must beat the base model, at the lower end "
        "of the paired interval",
    )
    champion_metrics: list[str] = Field(
        min_length=1, description="metrics in which the candidate is compared with the champion"
    )
    champion_margin: float = Field(
        ge=0,
        lt=1,
        description="how much worse than the champion the lower end of the paired interval may be",
    )
    max_slice_drop: float = Field(
        ge=0,
        le=1,
        description="drop of exact match against the champion that no slice may exceed by more "
        "than chance explains",
    )
    min_slice_score: float = Field(
        ge=0, le=1, description="exact match that every slice must reach"
    )
    min_questions: int = Field(
        ge=1, description="golden questions; fewer are not enough for a decision"
    )
    min_slice_questions: int = Field(
        ge=1, description="questions that a slice needs before its score is judged"
    )
