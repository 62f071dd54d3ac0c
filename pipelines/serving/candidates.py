"""The exported candidate, and whether it may be released at all."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pipelines import files
from pipelines.config.export import ExportConfig
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import Scores
from pipelines.contracts.verdict import Verdict
from pipelines.decision import ledger
from pipelines.errors import Refusal, UserError
from pipelines.serving import model_code

EXPORT = Path("models/triton")
VERDICT = Path("data/reports/verdict.json")
SCORES = Path("data/reports/scores.json")
INDEX = Path("data/index.json")
MAX_FILES = 5  # in a message


class Step(StrEnum):
    """The step of a release that decided, as the ledger names it."""

    RELEASE = "release"
    PROOF = "infra validation"
    SHADOW = "shadow"
    CANARY = "canary"
    EXPERIMENT = "experiment"
    GATE = "gate"


class StepRefusal(Refusal):
    """A step said no. `step` and `kind` are for the ledger."""

    def __init__(
        self, message: str, step: Step, kind: Literal["refused", "rolled_back"] = "refused"
    ):
        super().__init__(message)
        self.step = step
        self.kind = kind


@dataclass(frozen=True)
class Candidate:
    """The exported release, its scores, and the gate's verdict."""

    record: ReleaseRecord
    verdict: Verdict
    scores: Scores

    @classmethod
    def read(cls) -> "Candidate":
        return cls(
            record=files.read_json(EXPORT / "release.json", ReleaseRecord),
            verdict=files.read_json(VERDICT, Verdict),
            scores=files.read_json(SCORES, Scores),
        )

    @property
    def release_id(self) -> str:
        return self.record.release_id


def obey(candidate: Candidate) -> None:
    """Raises Refusal unless gate and people agree to this candidate.

    The gate must have accepted it, and the last person who decided about it must not have refused.
    """
    adapter = candidate.record.adapter
    verdict = candidate.verdict
    if verdict.candidate != adapter:
        raise StepRefusal(
            f"refused: {EXPORT} holds candidate {adapter[:12]}, but the gate's verdict in "
            f"{VERDICT} is about candidate {verdict.candidate[:12]}: {verdict.reason}\n`make run` "
            "judges the candidate that there is now, and exports it if it is accepted",
            Step.RELEASE,
        )
    if not verdict.accepted:
        raise StepRefusal(
            f"refused: the gate did not accept candidate {adapter[:12]}: {verdict.reason}\n"
            f"{VERDICT} holds every rule with its numbers; `make run` judges again",
            Step.RELEASE,
        )
    decision = last_decision(adapter)
    if decision and decision.kind == "refused":
        raise StepRefusal(
            f"refused: {decision.who} refused candidate {adapter[:12]} at {decision.when}: "
            f"{decision.why}\nA new decision replaces that one: "
            "`python -m pipelines decide --decision approve --who NAME --why TEXT`",
            Step.RELEASE,
        )


def check_export(record: ReleaseRecord, config: ExportConfig) -> None:
    """Raises Refusal unless the export's code is what this checkout exports by `config`.

    Raises UserError unless the weights are those that release.json names. Nothing of it has run.
    """
    _demand_own_code(config)
    weights = EXPORT / "generator" / str(record.version) / "weights"
    if not weights.is_dir() or files.digest(weights) != record.model:
        raise UserError(
            f"the weights in {EXPORT} are not those that its release.json names: "
            f"`dvc checkout {EXPORT}` brings them back, or `dvc repro export` writes them anew"
        )


def _demand_own_code(config: ExportConfig) -> None:
    """Bytecode goes: a proof that was killed leaves it, and it would run in the code's stead."""
    model_code.remove_bytecode(EXPORT)
    dimensions = files.read_json(INDEX, Receipt).dimensions
    problems = model_code.differences(EXPORT, config, dimensions)
    if problems:
        more = f"\n  and {len(problems) - MAX_FILES} more" if len(problems) > MAX_FILES else ""
        lines = "".join(f"\n  {EXPORT}/{problem}" for problem in problems[:MAX_FILES])
        raise StepRefusal(
            f"refused: the code in {EXPORT} is not what this checkout exports, so none of it was "
            f"run:{lines}{more}\nIf code or params.yaml have changed since the export, `dvc repro "
            "export` writes it anew (`dvc repro --force --single-item export` if DVC sees no "
            "change). Otherwise find out who pushed it: `git log dvc.lock`",
            Step.RELEASE,
        )


def last_decision(adapter: str) -> ledger.Event | None:
    """What the last person decided about this candidate."""
    for event in reversed(ledger.read()):
        if event.step == "approval" and event.candidate == adapter:
            return event
    return None
