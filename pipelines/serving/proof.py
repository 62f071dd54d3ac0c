"""Infrastructure validation, as TFX's: a fresh server loads exactly this release and answers.

Its answers must be what evaluate measured. Nothing here trusts a digest or the exporter: only what
the started server loads and answers counts.
"""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.config.proof import ProofConfig
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import Check, CheckCode, Report
from pipelines.errors import UserError
from pipelines.serving import locations, triton_server
from pipelines.serving.model_configs import ASSISTANT, MODELS
from pipelines.serving.triton_connection import Triton

NUM_CLIENTS = 8  # questions asked at once, so that batches are formed as in service
LOAD_ERRORS = ("failed to load", "Poll failed", "must be specified")
Row = dict[str, Any]


@dataclass(frozen=True)
class Proof:
    """Every check with its numbers; `3 of 8` answers and citations that equal evaluate's."""

    report: Report
    same_answers: str
    same_citations: str


class Reply(NamedTuple):
    """One of evaluate's rows, and what the server said to its question: outputs or an error."""

    row: Row
    outputs: Row
    error: str

    def citations(self) -> list[str]:
        """The ids of the passages that the answer cites."""
        return [citation["chunk_id"] for citation in json.loads(self.outputs["citations"])]

    def is_by(self, record: ReleaseRecord) -> bool:
        """Whether the server names this release and its version."""
        source = (self.outputs["release_id"], self.outputs["model_version"])
        return source == (record.release_id, str(record.version))


def prove(
    repository: Path,
    record: ReleaseRecord,
    answers: list[Row],
    config: ProofConfig,
    environment: dict[str, str],
) -> Proof:
    """Start a server on the repository and ask it what evaluate asked.

    `answers` are evaluate's rows of the candidate (contracts/answers.py); `environment` says how to
    reach Weaviate. A server that does not start is a failed check.
    """
    log = locations.serving_folder() / "proof.log"
    log.unlink(missing_ok=True)
    launch = triton_server.Launch(repository, list(MODELS), log, environment, is_patient=False)
    try:
        with triton_server.run(launch) as triton:
            replies = _ask_all(triton, _sample(answers, config.num_questions))
            checks = [_check_loading("loaded", is_loaded=True), _check_models(triton, record)]
            return _judge(checks, replies, record, config)
    except UserError as error:
        reason = _load_error(log) or str(error)
        return Proof(Report.of([_check_loading(reason, is_loaded=False)]), "none", "none")
    finally:
        _remove_bytecode(repository)


def _ask_all(triton: Triton, rows: list[Row]) -> list[Reply]:
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        return list(pool.map(lambda row: _ask(triton, row), rows))


def _ask(triton: Triton, row: Row) -> Reply:
    try:
        return Reply(row, triton.generate(ASSISTANT, {"question": row["question"]}), "")
    except (UserError, OSError) as error:
        return Reply(row, {}, str(error) or type(error).__name__)


def _judge(
    checks: list[Check], replies: list[Reply], record: ReleaseRecord, config: ProofConfig
) -> Proof:
    """The proof with these checks and those of the replies."""
    answers = [reply for reply in replies if not reply.error]
    same_answers = _compare_answers(replies, answers, config.min_same_answers)
    same_citations = _compare_citations(replies, answers, config.min_same_citations)
    report = Report.of(
        [
            *checks,
            _check_sample(replies, config),
            _check_errors(replies),
            _check_source(answers, record),
            same_answers,
            same_citations,
        ]
    )
    return Proof(report, same_answers.observed, same_citations.observed)


def _check_loading(observation: str, *, is_loaded: bool) -> Check:
    return Check(
        name="the repository loads", passed=is_loaded, observed=observation, expected="loaded"
    )


def _check_models(triton: Triton, record: ReleaseRecord) -> Check:
    ready = triton.ready_models()
    target = {model: [str(record.version)] for model in MODELS}
    return Check(
        name="exactly this version is loaded",
        passed=ready == target,
        observed=_format_versions(ready),
        expected=_format_versions(target),
    )


def _check_sample(replies: list[Reply], config: ProofConfig) -> Check:
    return Check(
        name="golden questions were asked",
        passed=len(replies) >= min(config.num_questions, 1),
        observed=str(len(replies)),
        expected=f"{config.num_questions}",
    )


def _check_errors(replies: list[Reply]) -> Check:
    errors = [reply.error for reply in replies if reply.error]
    return Check(
        name="every question is answered",
        passed=not errors and len(replies) > 0,
        observed=f"{len(errors)} of {len(replies)} failed",
        expected="0",
        examples=errors[:3],
    )


def _check_source(answers: list[Reply], record: ReleaseRecord) -> Check:
    num_foreign = sum(not reply.is_by(record) for reply in answers)
    return Check(
        name="this release answered, as the server says",
        passed=num_foreign == 0 and len(answers) > 0,
        observed=f"{num_foreign} of {len(answers)} by another",
        expected="0",
    )


def _compare_answers(replies: list[Reply], answers: list[Reply], min_share: float) -> Check:
    differences: list[str] = []
    for row, outputs, _ in answers:
        if outputs["answer"] != row["answer"]:
            difference = f"{outputs['answer']!r} instead of {row['answer']!r}"
            differences.append(f"{row['question']!r}: {difference}")
    num_same = len(answers) - len(differences)
    return Check(
        name="answers equal evaluate's",
        code=CheckCode.SAME_ANSWERS,
        passed=_reaches(num_same, len(replies), min_share),
        observed=f"{num_same} of {len(replies)}",
        expected=f"at least {min_share:.0%}",
        examples=differences[:3],
    )


def _compare_citations(replies: list[Reply], answers: list[Reply], min_share: float) -> Check:
    differences: list[str] = []
    for reply in answers:
        citations = reply.citations()
        target = list(reply.row["cited"])
        if citations != target:
            differences.append(f"{reply.row['question']!r}: {citations} instead of {target}")
    num_same = len(answers) - len(differences)
    return Check(
        name="citations equal evaluate's",
        code=CheckCode.SAME_CITATIONS,
        passed=_reaches(num_same, len(replies), min_share),
        observed=f"{num_same} of {len(replies)}",
        expected=f"at least {min_share:.0%}",
        examples=differences[:3],
    )


def _reaches(count: int, total: int, min_share: float) -> bool:
    return total > 0 and count / total >= min_share


def _sample(answers: list[Row], count: int) -> list[Row]:
    """Evenly spread over all questions, the same each time."""
    step = max(1, len(answers) // count)
    return answers[::step][:count]


def _load_error(log: Path) -> str | None:
    """The server's own message about what it could not load."""
    if not log.exists():
        return None
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("E") and any(words in line for words in LOAD_ERRORS):
            return line.split('"', maxsplit=1)[-1].strip('"')
    return None


def _format_versions(versions: dict[str, list[str]]) -> str:
    names = [f"{model} {'+'.join(sorted(versions[model]))}" for model in sorted(versions)]
    return ", ".join(names) or "nothing"


def _remove_bytecode(repository: Path) -> None:
    """Triton's Python writes it whatever its environment says; DVC would see a changed export."""
    for folder in repository.rglob("__pycache__"):
        shutil.rmtree(folder)
