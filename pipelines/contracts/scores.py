"""scores.json: every metric of every system, and the paired differences that the gate judges.

{"candidate": "9f1e...", "champion": null, "num_questions": 300, "golden_digest": "8d01...",
 "systems": {"candidate": {"metrics": {"exact_match":
    {"value": 0.81, "low": 0.76, "high": 0.85, "num": 300}}, "slices": {...}}},
 "differences": {"base": {"exact_match":
    {"value": 0.81, "low": 0.76, "high": 0.85, "num": 300}}}}
"""

from pydantic import BaseModel, ConfigDict

CANDIDATE = "candidate"
BASE = "base"
FREQUENT = "most_frequent"
NEAREST = "nearest_sentence"
CHAMPION = "champion"


class Interval(BaseModel):
    """A mean over `num` questions with its 95 % bootstrap interval; nulls if it has no value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    low: float | None
    high: float | None
    num: int


class System(BaseModel):
    """One system's metrics and exact match by slice (`style:typo`, `page:handbook/gate.md`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, Interval]
    slices: dict[str, Interval]


class Scores(BaseModel):
    """The whole file. `differences` are candidate minus the named system, question by question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate: str  # digest of the adapter
    champion: str | None  # release id
    num_questions: int
    golden_digest: str
    systems: dict[str, System]
    differences: dict[str, dict[str, Interval]]

    def values(self, system: str) -> dict[str, float]:
        """The metrics of one system that were measured, without their intervals."""
        values: dict[str, float] = {}
        for name, interval in self.systems[system].metrics.items():
            if interval.value is not None:
                values[name] = interval.value
        return values
