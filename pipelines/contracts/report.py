"""A report of checks: validation.json, examples_validation.json and others. The harmed stage obeys.

{"passed": false, "reason": "2 of 9 checks failed: ...", "checks": [{"name": "text is not empty",
 "passed": false, "observed": "3 of 120 rows", "expected": "0 rows", "num_rows": 3,
 "examples": ["handbook/a.md", ...]}, {"name": "number of documents", ...,
 "code": "num_documents"}]}
"""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from pipelines.errors import Refusal, UserError


class CheckCode(StrEnum):
    """Identifies the checks that code looks for; a check that only people read needs none."""

    NUM_DOCUMENTS = "num_documents"  # validate: how many documents there are
    NUM_REQUESTS = "num_requests"  # monitor: how many requests a window has
    SAME_TOKENS = "same_tokens"  # parity: share of tokens that quantisation leaves unchanged
    SAME_ANSWERS = "same_answers"  # parity and proof: share of answers that are as expected
    SAME_CITATIONS = "same_citations"  # proof: share of citations that are as evaluated


class Check(BaseModel):
    """One rule: what was observed and what was expected."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # for people; control flow asks for `code`
    passed: bool
    observed: str
    expected: str
    num_rows: int = 0  # rows that break the rule, if rows can be named
    examples: list[str] = []  # at most three
    code: str = ""  # a CheckCode, or empty
    remedy: str = ""  # for people: what to do if it did not pass, or empty

    @model_serializer(mode="wrap")
    def _leave_out_empty_texts(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A check without a code or a remedy is stored without the key."""
        fields: dict[str, Any] = dump(self)
        for key in ("code", "remedy"):
            if not fields.get(key):
                fields.pop(key, None)
        return fields

    def describe(self) -> str:
        """`name: observed, expected ...`."""
        return f"{self.name}: {self.observed}, expected {self.expected}"


class Report(BaseModel):
    """All checks of one artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    reason: str
    checks: list[Check]

    @classmethod
    def of(cls, checks: list[Check]) -> "Report":
        """Passed only if there is at least one check and every check passed."""
        if not checks:
            return cls(passed=False, reason="nothing was checked", checks=[])
        failures = [check.describe() for check in checks if not check.passed]
        if not failures:
            return cls(passed=True, reason=f"all {len(checks)} checks passed", checks=checks)
        summary = f"{len(failures)} of {len(checks)} checks failed"
        return cls(passed=False, reason=f"{summary}: {'; '.join(failures)}", checks=checks)

    def failures(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    def check(self, code: str) -> Check:
        """The check with that code. Raises UserError if the report has none."""
        for check in self.checks:
            if check.code == code:
                return check
        names = ", ".join(check.name for check in self.checks) or "no checks"
        raise UserError(
            f"the report has no check with the code `{code}` (it has: {names}): "
            "if an earlier version of the code wrote it, `dvc repro` writes it anew"
        )

    def demand(self, subject: str, remedy: str) -> None:
        """Raise Refusal unless passed: which check, how many rows, three examples, what to do.

        `remedy` is about the whole; a check's own remedy follows it in a line of its own.
        """
        if self.passed:
            return
        lines = [f"refused: {subject} did not pass. {remedy}"]
        lines += [f"  - {_describe_failure(check)}" for check in self.failures()]
        if not self.checks:
            lines.append(f"  - {self.reason}")
        raise Refusal("\n".join(lines))


def _describe_failure(check: Check) -> str:
    """The check with the number of its rows, unless `observed` has it, and its examples."""
    count = f" ({check.num_rows} rows)" if _count_is_missing(check) else ""
    line = f"{check.name}: {check.observed}{count}, expected {check.expected}"
    if check.examples:
        line += f" e.g. {', '.join(check.examples[:3])}"
    if check.remedy:
        line += f"\n    {check.remedy}"
    return line


def _count_is_missing(check: Check) -> bool:
    """Whether `observed` does not say by itself how many rows break the rule."""
    return check.num_rows > 0 and "rows" not in check.observed
