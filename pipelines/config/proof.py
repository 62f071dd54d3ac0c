"""`proof` of params.yaml: what a release must show on a fresh server. No stage reads it."""

from pydantic import Field

from pipelines.config.section import LOWER, Section


class ProofConfig(Section):
    """What a fresh server must show before a release may be live."""

    num_questions: int = Field(
        json_schema_extra=LOWER, ge=1, description="golden questions asked, spread over all"
    )
    num_clients: int = Field(
        json_schema_extra=LOWER,
        ge=1,
        le=1024,
        description="questions asked at once; each must be answered within export.timeout_seconds",
    )
    min_same_answers: float = Field(
        json_schema_extra=LOWER,
        ge=0,
        le=1,
        description="share of answers that equal evaluate's to the letter",
    )
    min_same_citations: float = Field(
        json_schema_extra=LOWER,
        ge=0,
        le=1,
        description="share of answers that cite the passages that evaluate found, in order",
    )
