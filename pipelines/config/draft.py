"""`draft` of params.yaml: who proposes questions about documents, and what a draft must pass."""

from typing import Self

from pydantic import Field, model_validator

from pipelines.config.section import Section


class DraftConfig(Section):
    """The teacher, and the round trip of each draft."""

    url: str | None = Field(
        pattern=r"^https?://\S+$",
        description="base URL of an OpenAI-compatible endpoint, such as https://host/v1; null: the "
        "local models (models/base, and models/adapter to answer)",
    )
    model: str | None = Field(description="the model's name at this endpoint; null without url")
    key_variable: str = Field(
        pattern=r"^[A-Za-z_]\w*$",
        description="environment variable with the endpoint's key; unset: no key is sent",
    )
    timeout_seconds: float = Field(gt=0, description="seconds that one request may take")
    requests_at_once: int = Field(
        ge=1, le=256, description="requests to the endpoint, or prompts of the local model, at once"
    )
    drafts_a_passage: int = Field(ge=1, le=5, description="questions asked for of each passage")
    unanswerable_share: float = Field(
        ge=0,
        le=1,
        description="share of the passages asked for a question that they do not answer",
    )
    max_rank: int = Field(
        ge=1, le=20, description="the evidence must be among so many first passages of retrieval"
    )
    min_agreement: float = Field(
        gt=0,
        le=1,
        description="token F1 of the answer that the teacher gives with the passages, and the "
        "drafted one, from which both count as the same",
    )
    seed: int = Field(ge=0, description="seed of the order of the passages")

    @model_validator(mode="after")
    def _names_the_model(self) -> Self:
        if (self.url is None) != (self.model is None):
            raise ValueError(
                "url and model belong together: give both for an endpoint, null for both for the "
                "local models"
            )
        return self
