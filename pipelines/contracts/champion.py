"""models/champion.json: the release that later candidates are compared with.

Written by `release`, `rollback` and `champion`. Before the first release: {"champion": null}

{"champion": {"release_id": "r-3f2a9c01b7de", "who": "ada", "why": "first release",
 "when": "2026-11-21T14:02:11+00:00", "num_documents": 133, "candidate": "9f1e...",
 "model_digest": "77ab...", "folder": "models/champion", "model": "generator/1/weights",
 "prompt": "generator/1/prompt.yaml", "scores": {"exact_match": 0.86}}}
"""

from pydantic import BaseModel, ConfigDict


class Champion(BaseModel):
    """One release as the stages know it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    who: str
    why: str
    when: str  # ISO 8601 with zone
    num_documents: int
    candidate: str  # digest of the adapter
    model_digest: str  # digest of `folder`
    # The released Triton model repository, tracked by DVC; relative to the repository's root.
    folder: str
    model: str  # the merged weights, in `folder`
    prompt: str  # the template, in `folder`
    scores: dict[str, float]


class ChampionFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    champion: Champion | None
