"""`chunk` of params.yaml: how documents are cut."""

from pydantic import Field, model_validator

from pipelines.config.section import Section


class ChunkConfig(Section):
    """Sizes in the encoder's own tokens."""

    max_tokens: int = Field(
        ge=16, le=8192, description="encoder tokens per chunk, its headings not counted"
    )
    min_tokens: int = Field(
        ge=0,
        description="encoder tokens; a shorter chunk is joined with the next section",
    )
    overlap_tokens: int = Field(
        ge=0, description="encoder tokens repeated from the chunk before, within a section"
    )
    max_characters: int = Field(
        ge=100,
        description="characters per chunk; bounds what the encoder's tokens do not, such as a long "
        "run of base64, which is one unknown token",
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> "ChunkConfig":
        if self.overlap_tokens >= self.max_tokens // 2:
            raise ValueError(
                f"overlap_tokens ({self.overlap_tokens}) must be less than half of max_tokens "
                f"({self.max_tokens})"
            )
        if self.min_tokens >= self.max_tokens:
            raise ValueError(
                f"min_tokens ({self.min_tokens}) must be less than max_tokens ({self.max_tokens})"
            )
        return self
