"""Infrastructure validation, as TFX's: a fresh server loads exactly this release and answers.

Its answers must be what evaluate measured. Nothing here trusts a digest or the exporter: only what
the started server loads and answers counts.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from pipelines import files
from pipelines.config.proof import ProofConfig
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import Check, CheckCode, Report
from pipelines.errors import UserError
from pipelines.serving import locations, model_code, triton_server
from pipelines.serving.model_configs import ASSISTANT, MODELS
from pipelines.serving.model_repository import SETTINGS
from pipelines.serving.triton_connection import Triton

LOG = "proof.log"
# The server itself ends a request at its limit; only one that does not is left alone after this.
SPARE_SECONDS = 10.0
EXCERPT_CHARACTERS = 60  # of a question or an answer in a message
COMMON_CHARACTERS = 15  # shown before the first difference of two answers
LOAD_ERRORS = ("failed to load", "Poll failed", "must be specified")
Row = dict[str, Any]


@dataclass(frozen=True)
class Proof:
    """Every check with its numbers; `3 of 8` answers and citations that equal evaluate's."""

    report: Report
    same_answers: str
    same_citations: str


class Limits(BaseModel):
    """The exported assistant's own limits: those of `export` when the release was exported."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    timeout_seconds: float
    max_new_tokens: int


class Reply(NamedTuple):
    """One of evaluate's rows, and what the server said to its question: outputs or an error.

    `seconds` is the time that this took.
    """

    row: Row
    outputs: Row
    error: str
    seconds: float

    def is_late(self, limits: Limits) -> bool:
        """Whether there is no answer because the time was over."""
        return bool(self.error) and self.seconds >= limits.timeout_seconds

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
    log = locations.serving_folder() / LOG
    log.unlink(missing_ok=True)
    launch = triton_server.Launch(repository, list(MODELS), log, environment, is_patient=False)
    try:
        with triton_server.run(launch) as triton:
            limits = _read_limits(repository)
            rows = _sample(answers, config.num_questions)
            replies = _ask_all(triton, rows, limits, config.num_clients)
            checks = [_check_loading("loaded", is_loaded=True), _check_models(triton, record)]
            checks += [_check_sample(replies, config), _check_time(replies, limits, config)]
            return _judge([*checks, _check_errors(replies, limits)], replies, record, config)
    except UserError as error:
        reason = _load_error(log) or str(error)
        return Proof(Report.of([_check_loading(reason, is_loaded=False)]), "none", "none")
    finally:
        model_code.remove_bytecode(repository)


def _read_limits(repository: Path) -> Limits:
    """Those that the server has just loaded. Raises UserError if they cannot be read."""
    paths = sorted((repository / ASSISTANT).glob(f"*/{SETTINGS}"))
    return files.read_json(paths[-1], Limits)


def _ask_all(triton: Triton, rows: list[Row], limits: Limits, num_clients: int) -> list[Reply]:
    with ThreadPoolExecutor(num_clients) as pool:
        return list(pool.map(lambda row: _ask(triton, row, limits), rows))


def _ask(triton: Triton, row: Row, limits: Limits) -> Reply:
    start = time.monotonic()
    patience = limits.timeout_seconds + SPARE_SECONDS
    outputs: Row = {}
    problem = ""
    try:
        outputs = triton.generate(ASSISTANT, {"question": row["question"]}, patience)
    except (UserError, OSError) as error:
        problem = str(error) or type(error).__name__
    return Reply(row, outputs, problem, time.monotonic() - start)


def _judge(
    checks: list[Check], replies: list[Reply], record: ReleaseRecord, config: ProofConfig
) -> Proof:
    """The proof with these checks and those of what was answered."""
    answers = [reply for reply in replies if not reply.error]
    if not answers:  # which a check has failed for: nothing was asked, or each reply is an error
        return Proof(Report.of(checks), "none", "none")
    same_answers = _compare_answers(answers, config.min_same_answers)
    same_citations = _compare_citations(answers, config.min_same_citations)
    source = _check_source(answers, record)
    report = Report.of([*checks, source, same_answers, same_citations])
    return Proof(report, same_answers.observed, same_citations.observed)


def _check_loading(observation: str, *, is_loaded: bool) -> Check:
    return Check(
        name="the repository loads",
        passed=is_loaded,
        observed=observation,
        expected="loaded",
        remedy=f"All that the server said is in .state/serving/{LOG}. `dvc repro --force "
        "--single-item export` writes the repository anew",
    )


def _check_models(triton: Triton, record: ReleaseRecord) -> Check:
    target = {model: [str(record.version)] for model in MODELS}
    try:
        ready = triton.ready_models()
        observation = _format_versions(ready)
    except OSError as error:
        ready = {}
        observation = f"the server no longer answers ({error or type(error).__name__})"
    return Check(
        name="exactly this version is loaded",
        passed=ready == target,
        observed=observation,
        expected=_format_versions(target),
        remedy="The repository was not written by one export: `dvc repro --force --single-item "
        f"export` writes it anew. If the server ended, .state/serving/{LOG} says why",
    )


def _check_sample(replies: list[Reply], config: ProofConfig) -> Check:
    return Check(
        name="golden questions were asked",
        passed=len(replies) > 0,
        observed=str(len(replies)),
        expected=f"{config.num_questions} (proof.num_questions), or all if there are fewer",
        remedy="data/answers.parquet holds no answer of the candidate: `dvc repro` evaluates it",
    )


def _check_time(replies: list[Reply], limits: Limits, config: ProofConfig) -> Check:
    num_late = sum(reply.is_late(limits) for reply in replies)
    seconds = f"{limits.timeout_seconds:g} s"
    return Check(
        name="every answer comes in time",
        passed=num_late == 0,
        observed=f"{num_late} of {len(replies)} took longer than {seconds}",
        expected=f"none (export.timeout_seconds is {seconds})",
        remedy="Raise export.timeout_seconds, or lower export.max_new_tokens "
        f"({limits.max_new_tokens}) or proof.num_clients ({config.num_clients} questions at "
        "once). Then run `dvc repro export`, and release again",
    )


def _check_errors(replies: list[Reply], limits: Limits) -> Check:
    """Late answers are counted by `_check_time` alone."""
    failures = [reply for reply in replies if reply.error and not reply.is_late(limits)]
    errors = dict.fromkeys(_printable(reply.error) for reply in failures)
    return Check(
        name="every question is answered",
        passed=not failures,
        observed=f"{len(failures)} of {len(replies)} failed",
        expected="no errors",
        examples=list(errors)[:3],
        remedy=f"All that the server said is in .state/serving/{LOG}",
    )


def _check_source(answers: list[Reply], record: ReleaseRecord) -> Check:
    num_foreign = sum(not reply.is_by(record) for reply in answers)
    return Check(
        name="this release answered, as the server says",
        passed=num_foreign == 0,
        observed=f"{num_foreign} of {len(answers)} answers are by another",
        expected=f"all by {record.release_id}, version {record.version}",
        remedy="The repository and its release.json are of different exports: "
        "`dvc checkout models/triton` brings both back",
    )


def _compare_answers(answers: list[Reply], min_share: float) -> Check:
    differences: list[str] = []
    for reply in answers:
        if reply.outputs["answer"] != reply.row["answer"]:
            differences.append(_describe_difference(reply))
    num_same = len(answers) - len(differences)
    return Check(
        name="answers equal evaluate's",
        code=CheckCode.SAME_ANSWERS,
        passed=num_same / len(answers) >= min_share,
        observed=f"{num_same} of {len(answers)}",
        expected=f"at least {_percentage(min_share)} (proof.min_same_answers)",
        examples=differences[:3],
        remedy="If they differ in a few words alone, the cause is rounding (export.quantisation, "
        "or evaluate.precision: weights): use fp32, or allow for it by a lower "
        "proof.min_same_answers. If they have nothing in common, this is not the model that was "
        "evaluated: `dvc repro` evaluates and exports the same one",
    )


def _compare_citations(answers: list[Reply], min_share: float) -> Check:
    differences: list[str] = []
    for reply in answers:
        citations = reply.citations()
        target = list(reply.row["cited"])
        if citations != target:
            differences.append(
                f"{_quote(reply.row['question'])}: evaluate {target}, Triton {citations}"
            )
    num_same = len(answers) - len(differences)
    return Check(
        name="citations equal evaluate's",
        code=CheckCode.SAME_CITATIONS,
        passed=num_same / len(answers) >= min_share,
        observed=f"{num_same} of {len(answers)}",
        expected=f"at least {_percentage(min_share)} (proof.min_same_citations)",
        examples=differences[:3],
        remedy="The search now finds other passages than evaluate recorded. `dvc repro --force "
        "--single-item evaluate`, then `dvc repro`, measure what it finds now; if vectors are "
        "computed in bf16, near ties may change places: allow for it by a lower "
        "proof.min_same_citations",
    )


def _describe_difference(reply: Reply) -> str:
    """One line: the question, evaluate's answer and Triton's, each from where they begin to differ.

    Nothing in it controls a terminal, whatever the model has written.
    """
    target = str(reply.row["answer"])
    answer = str(reply.outputs["answer"])
    start = max(0, _num_common(target, answer) - COMMON_CHARACTERS)
    answers = f"evaluate {_quote(target, start)}, Triton {_quote(answer, start)}"
    return f"{_quote(reply.row['question'])}: {answers}"


def _num_common(first: str, second: str) -> int:
    """How many characters both texts begin with."""
    count = 0
    for sign, counterpart in zip(first, second, strict=False):
        if sign != counterpart:
            break
        count += 1
    return count


def _quote(text: str, start: int = 0) -> str:
    """An excerpt in quotation marks, with control characters escaped."""
    end = start + EXCERPT_CHARACTERS
    head = "..." if start else ""
    tail = "..." if len(text) > end else ""
    return repr(f"{head}{text[start:end]}{tail}")


def _printable(text: str) -> str:
    """One line without control characters."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _percentage(share: float) -> str:
    """`99.5 %`: rounded no further than needed, so that a floor never looks higher than it is."""
    return f"{100 * share:.6g} %"


def _sample(answers: list[Row], count: int) -> list[Row]:
    """Evenly spread over all questions, the same each time."""
    count = min(count, len(answers))
    return [answers[number * len(answers) // count] for number in range(count)]


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
