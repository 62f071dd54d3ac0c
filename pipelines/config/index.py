"""`index` of params.yaml: how the Weaviate collection is kept and searched."""

from pydantic import Field

from pipelines.config.section import Section


class IndexConfig(Section):
    """Retention, verification, and how passages are ordered in a search."""

    keep: int = Field(
        ge=1,
        description="collections that stay, the new one and spares (beyond 10,000 passages) "
        "included; what an alias names always stays",
    )
    hybrid_alpha: float = Field(
        ge=0,
        le=1,
        description="hybrid search: share of the vector in a passage's score; "
        "0 is BM25 alone, 1 the vector alone",
    )
    rerank_weight: float = Field(
        ge=0,
        le=1,
        description="late interaction: its share in the order of the 10 best passages; "
        "0: they stay as hybrid search orders them",
    )
    verify_sample: int = Field(
        ge=1, description="objects read back and compared with their vectors"
    )
