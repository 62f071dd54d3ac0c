"""release_steps.json: what each step of a release saw, and by what it decided.

{"release_id": "r-9f1e", "candidate": "9f1e...", "begun": "2026-11-21T14:02:11.093145+00:00",
 "steps":
 [{"step": "canary", "when": "2026-11-21T14:31:40+00:00", "passed": true,
   "reason": "all 6 checks passed", "checks": [{"name": "failed requests", ...}],
   "undecided": [], "error_rates": ["A release that is worse in nothing ... falls 1 time of 100"],
   "plots": [{"title": "failed requests", "x_label": "requests", "marks": [{"x": 0, "label": "5%"}],
     "curves": [{"label": "it is worse", "is_against": true, "threshold": 2.78,
                 "points": [[0, 0.0], [12, -0.31]]}]}]}]}
"""

from pydantic import BaseModel, ConfigDict

from pipelines.contracts.report import Check


class Curve(BaseModel):
    """Evidence as it grew: the logarithm to base 10 of the odds, over what was counted by then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str  # what the evidence is for
    is_against: bool  # whether it speaks against the release
    threshold: float  # where it decides
    points: list[tuple[float, float]]


class Mark(BaseModel):
    """Something that happened, such as a larger share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: float
    label: str


class Plot(BaseModel):
    """Curves over the same axis."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    x_label: str
    marks: list[Mark] = []
    curves: list[Curve]


class StepResult(BaseModel):
    """How a step decided, and all that it looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str  # as the ledger names it
    when: str  # of the decision; ISO 8601 with zone
    passed: bool
    reason: str
    checks: list[Check]  # numbers and thresholds
    undecided: list[str] = []  # what it could not tell
    error_rates: list[str] = []  # how often it decides wrongly, where that is known
    plots: list[Plot] = []


class ReleaseSteps(BaseModel):
    """One attempt to release a candidate, its steps in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    candidate: str  # digest of the adapter
    begun: str  # ISO 8601 with zone
    steps: list[StepResult]
