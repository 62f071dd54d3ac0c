"""`validate` of params.yaml: the statistical promises about documents."""

from pydantic import Field

from pipelines.config.section import HIGHER, LOWER, MORE, Section


class ValidateConfig(Section):
    """Bounds that Great Expectations checks over all documents."""

    min_documents: int = Field(json_schema_extra=LOWER, ge=1, description="documents; fewer fail")
    min_median_characters: int = Field(
        json_schema_extra=LOWER,
        ge=1,
        description="characters that half of the documents must have at least",
    )
    languages: list[str] = Field(
        json_schema_extra=MORE, min_length=1, description="ISO 639-1 codes that documents may be in"
    )
    min_language_share: float = Field(
        json_schema_extra=LOWER,
        ge=0,
        le=1,
        description="share of documents that must be in one of them",
    )
    max_duplicate_share: float = Field(
        json_schema_extra=HIGHER,
        ge=0,
        le=1,
        description="near-duplicates left out, as a share of the remaining documents",
    )
    max_untitled_share: float = Field(
        json_schema_extra=HIGHER, ge=0, le=1, description="share of documents without a title"
    )
    max_left_out_share: float = Field(
        json_schema_extra=HIGHER,
        ge=0,
        le=1,
        description="share of a document's text that its reader may leave out (navigation and the "
        "like) in 9 of 10 documents; pictures, scripts and attachments do not count",
    )
    media_types: list[str] = Field(
        json_schema_extra=MORE, min_length=1, description="media types that may occur"
    )
    max_volume_change_share: float = Field(
        json_schema_extra=HIGHER,
        ge=0,
        description="relative change of the number of documents since the last release",
    )
