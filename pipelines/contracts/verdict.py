"""verdict.json: whether the candidate may be exported, and every rule with its outcome.

{"accepted": true, "candidate": "9f1e...",
 "reason": "accepted: all 21 rules passed; exact match 0.81 [0.76, 0.85]",
 "rules": [{"name": "floor exact_match", "passed": true, "observed": "0.81 [0.76, 0.85]",
            "expected": "lower end >= 0.6", "num_rows": 0, "examples": []}],
 "overrides": [],
 "not_judged": ["whether retrieval finds the right page: no golden question names a page"],
 "power": ["exact_match against the champion, 300 questions: a drop of 0.049 is found 8 times ..."]}
"""

from pydantic import BaseModel, ConfigDict

from pipelines.contracts.report import Check


class Override(BaseModel):
    """A person's decision that one candidate may break the named rules until a day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate: str  # the first digits of its digest, at least 12
    rules: list[str]
    who: str
    why: str
    until: str  # ISO date, last day


class Verdict(BaseModel):
    """The gate's decision; `overrides` are those that were needed.

    `not_judged`: what nobody has written golden questions about, so that no rule looked at it.
    `power`: how large a difference each rule finds with so many questions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted: bool
    candidate: str
    reason: str
    rules: list[Check]
    overrides: list[Override]
    not_judged: list[str] = []
    power: list[str] = []
