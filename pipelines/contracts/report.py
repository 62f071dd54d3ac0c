"""A check's report (validation.json, examples_validation.json, and the verdict's rules): the harmed stage reads it.

{"passed": false, "reason": "2 of 9 checks failed: ...", "checks": [{"name": "text is not empty", "passed": false,
 "observed": "3 of 120 rows", "expected": "0 rows", "num_rows": 3, "examples": ["handbook/a.md", ...]}]}
"""

from pydantic import BaseModel, ConfigDict

from pipelines.errors import Refusal


class Check(BaseModel):
    """One rule with what was seen and what was wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    passed: bool
    observed: str
    expected: str
    num_rows: int = 0  # rows that break it, where rows can be named
    examples: list[str] = []  # at most three


class Report(BaseModel):
    """All checks of one artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    reason: str
    checks: list[Check]

    @classmethod
    def of(cls, checks: list[Check]) -> "Report":
        """Passed only when there is at least one check and every check passed."""
        failed = [check for check in checks if not check.passed]
        if not checks:
            return cls(passed=False, reason="nothing was checked", checks=[])
        if not failed:
            return cls(passed=True, reason=f"all {len(checks)} checks passed", checks=checks)
        named = "; ".join(f"{check.name}: {check.observed}, expected {check.expected}" for check in failed)
        return cls(passed=False, reason=f"{len(failed)} of {len(checks)} checks failed: {named}", checks=checks)

    def demand(self, what: str, remedy: str) -> None:
        """Raise Refusal unless passed: which check, how many rows, three examples, what to do."""
        if self.passed:
            return
        lines = [f"refused: {what} did not pass. {remedy}"]
        for check in self.checks:
            if not check.passed:
                rows = f" ({check.num_rows} rows)" if check.num_rows and "rows" not in check.observed else ""
                shown = f" e.g. {', '.join(check.examples[:3])}" if check.examples else ""
                lines.append(f"  - {check.name}: {check.observed}{rows}, expected {check.expected}{shown}")
        raise Refusal("\n".join(lines if self.checks else [*lines, f"  - {self.reason}"]))
