"""What one window of traffic showed, and what follows from it.

data/reports/drift/windows/<window>.json is a Verdict; data/reports/drift/verdict.json is the last
Decision, which Airflow reads (`reaction`, `reason`).

{"window": "w-20261121T140211-5b0c1d22", "release_id": "r-3f2a9c01b7de",
 "first": "2026-11-21T14:02:11+00:00", "last": "...", "num_requests": 214, "num_tested": 214,
 "outcome": "drift", "baseline": "w-20261120T...", "baseline_kind": "live",
 "sentence": "Drift in new_topic, thumbs_down: ...", "checks": {"passed": true, ...},
 "signals": [{"name": "new_topic", "group": "input", "statistic": 3.1, "threshold": 1.4,
  "p_value": 0.0005, "drifted": true, "direction": "more", "effect": 14.2, "window": null,
  "baseline": null, "examples": ["Where do I ...", ...], "sentence": "..."}],
 "unmeasured": ["guard_flags"], "drastic": true,
 "presets": [{"column": "question", "method": "Percentile text content drift", "score": 0.61,
  "drifted": true}], "presets_say": true}
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipelines.contracts.report import Report

Outcome = Literal["drift", "no_drift", "cannot_tell"]
Reaction = Literal["none", "refresh", "train", "human", "cannot_tell"]
Group = Literal["input", "retrieval", "output", "quality", "operations"]
BaselineKind = Literal["live", "predecessor", "golden", "none"]


class Signal(BaseModel):
    """One signal's statistic against its threshold.

    Both are in units of the signal's own 99 % point under no drift.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    group: Group
    statistic: float
    threshold: float
    p_value: float  # over all signals together
    drifted: bool
    direction: Literal["more", "less", "other"]
    effect: float
    window: float | None
    baseline: float | None
    examples: list[str]  # at most three questions of the window
    sentence: str


class Preset(BaseModel):
    """What Evidently's preset says of a column: shown beside ours, decides nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    method: str
    score: float | None
    drifted: bool | None  # null if Evidently could not tell


class Verdict(BaseModel):
    """One window's outcome."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: str
    release_id: str | None
    first: str | None
    last: str | None
    num_requests: int
    num_tested: int
    outcome: Outcome
    baseline: str | None
    baseline_kind: BaselineKind
    sentence: str
    checks: Report
    signals: list[Signal]
    unmeasured: list[str]
    drastic: bool
    presets: list[Preset]
    presets_say: bool | None


class Decision(BaseModel):
    """What a window led to, or why it led to nothing.

    `blocked_by`: what kept `wanted` from being the reaction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision_id: str
    run_id: str | None
    when: str
    window: str
    release_id: str | None
    outcome: Outcome
    signals: list[str]  # that drifted
    confirmed: bool  # in enough windows in a row, or drastic
    wanted: Reaction
    reaction: Reaction
    blocked_by: list[
        Literal["hold", "cooldown", "daily_budget", "already_running", "running_unknown"]
    ]
    num_reviewed: int  # reviewed questions that the live release has not learned from
    num_waiting: int  # feedback that waits for a review
    judged_to: str | None  # ISO time of the last judged request; the next window starts after it
    accepted: bool  # whether this window became the release's baseline
    verdict_digest: str  # sha256 of the verdict's file
    report: str
    reason: str


class Acceptance(BaseModel):
    """A person's word that a window is what traffic should look like.

    The release's baseline starts anew with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: str
    release_id: str
    who: str
    why: str
    when: str
