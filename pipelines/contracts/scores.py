"""scores.json: every metric of every system with its bootstrap interval, and the paired differences that the gate judges.

{"candidate": "9f1e...", "champion": null, "num_questions": 300, "golden_digest": "...",
 "systems": {"candidate": {"metrics": {"exact_match": {"value": 0.81, "low": 0.76, "high": 0.85, "num": 300}}, "slices": {...}}},
 "differences": {"base": {"exact_match": {"value": 0.81, "low": 0.76, "high": 0.85, "num": 300}}}}
"""

from pydantic import BaseModel, ConfigDict

CANDIDATE, BASE, FREQUENT, CHAMPION = "candidate", "base", "most_frequent", "champion"


class Interval(BaseModel):
    """A mean with its 95 % bootstrap interval over `num` questions; nulls where there is no question to measure it on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    low: float | None
    high: float | None
    num: int


class System(BaseModel):
    """One system's metrics, and its exact match by slice (`style:typo`, `page:handbook/gate.md` ...)."""

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
        return {name: met.value for name, met in self.systems[system].metrics.items() if met.value is not None}
