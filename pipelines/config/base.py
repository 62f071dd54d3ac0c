"""`base` of params.yaml: the model before fine-tuning."""

import re

from pydantic import Field, model_validator

from pipelines.config.section import Section


class MadeModel(Section):
    """The small model that `source: made` trains from random weights."""

    vocabulary_size: int = Field(ge=300, le=65536, description="byte-level BPE tokens")
    hidden_size: int = Field(ge=16, description="width; a multiple of 2 x num_heads")
    num_layers: int = Field(ge=1, description="transformer blocks")
    num_heads: int = Field(ge=1, description="attention heads")
    num_tokens: int = Field(ge=1000, description="training tokens; the time is proportional")
    sequence_length: int = Field(ge=16, description="tokens per training sequence")
    batch_size: int = Field(ge=1, description="sequences per step")
    learning_rate: float = Field(gt=0, lt=1, description="peak; decays linearly to a tenth")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "MadeModel":
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of "
                f"2 x num_heads ({self.num_heads})"
            )
        return self


class BaseConfig(Section):
    """Where the base model comes from."""

    source: str = Field(min_length=1, description="package:<name>, a folder, a hub id, or made")
    revision: str | None = Field(
        description="commit of a hub id (40 hex digits), or sha256 of the package's GGUF file or "
        "of the folder (64); null: not pinned, which a hub id must be"
    )
    seed: int = Field(ge=0, description="seed of the made model")
    made: MadeModel = Field(description="used by `source: made` alone")

    @model_validator(mode="after")
    def _revision_is_pinned(self) -> "BaseConfig":
        if self.revision is None:
            return self
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.revision):
            raise ValueError(
                f"revision {self.revision!r} is not a commit: give its 40 hex digits, since a "
                "branch can move, or the 64 of a file's or folder's sha256"
            )
        return self
