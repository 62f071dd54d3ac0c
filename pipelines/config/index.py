"""`index` of params.yaml: how the Weaviate collection is kept."""

from pydantic import Field

from pipelines.config.section import Section


class IndexConfig(Section):
    """Retention and verification."""

    alias: str = Field(pattern=r"^[A-Z][A-Za-z0-9_]*$", description="Weaviate alias that `python -m pipelines alias` moves to the newest collection; others search through it")
    keep: int = Field(ge=1, description="collections that stay, the new one included")
    verify_sample: int = Field(ge=1, description="objects read back and compared with their vectors")
