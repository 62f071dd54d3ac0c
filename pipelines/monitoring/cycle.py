"""One round of monitoring: judge the next window, decide what follows, put both on record.

It is not a DVC stage: traffic is live data outside DVC, and a stage over a growing log would be
stale at every `dvc repro` and fail if there is no traffic. The line in the ledger
(monitoring/decisions.py) is what counts: a run that was killed before it has judged nothing, and
the same command judges again.
"""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import files
from pipelines.config.encoder import EncoderConfig
from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.drift import Acceptance, BaselineKind, Decision, Group, Verdict
from pipelines.contracts.window import WINDOW
from pipelines.errors import UserError
from pipelines.monitoring import (
    complaints,
    decisions,
    judging,
    presets,
    reactions,
    reference,
    window_page,
)
from pipelines.monitoring.decisions import Record
from pipelines.monitoring.judging import Rows
from pipelines.monitoring.question_vectors import embed
from pipelines.monitoring.reactions import Circumstances, ReasonedReaction
from pipelines.monitoring.signals import KnownQuestions
from pipelines.monitoring.window import TRAFFIC, WINDOWS, Window, collect
from pipelines.questions import lessons, reviews
from pipelines.questions.wording import normal
from pipelines.system import locks, paths

DECISION = Path("data/reports/drift/verdict.json")  # the last one, which Airflow reads
LOCK = "monitor.lock"  # in .state
TREND_PAGE = Path("data/reports/drift/index.html")
GROUPS: dict[BaselineKind, tuple[Group, ...]] = {
    "live": ("input", "retrieval", "output", "quality", "operations"),
    # Another model answers differently, which the gate and the canary have judged.
    "predecessor": ("input", "retrieval"),
    # Golden questions have neither times nor feedback; the gate has judged their answers.
    "golden": ("input",),
    "none": (),
}


@dataclass(frozen=True)
class Settings:
    """What a round obeys."""

    monitor: MonitorConfig
    encoder: EncoderConfig
    lessons: lessons.Limits


@dataclass(frozen=True)
class Baseline:
    """What a window is compared with."""

    kind: BaselineKind
    name: str
    table: pd.DataFrame


@dataclass(frozen=True)
class Judgement:
    """A window's verdict, and what follows from it."""

    window: Window
    verdict: Verdict
    circumstances: Circumstances
    reaction: ReasonedReaction


def now() -> datetime.datetime:
    """The time of this call, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def run(
    settings: Settings, run_id: str | None, count_running: Callable[[], int | None]
) -> Decision:
    """Judge the next window, decide and record.

    A repeated call with the same `run_id` gives the recorded decision again. `count_running` tells
    how many trainings and refreshes are under way when it is decided; None: not known.
    """
    # Two rounds at once would judge the same requests and start the same work twice: the second
    # one waits and judges what came after.
    with locks.exclusive(paths.state_folder() / LOCK):
        record = decisions.read()
        decision = _recorded_decision(record, run_id)
        if decision is None:
            decision = _record_next_window(settings, record, run_id, count_running)
        files.write_json(DECISION, decision)
    return decision


def accept(window: str, who: str, why: str) -> Acceptance:
    """A person says that a window is what traffic should look like: the baseline starts with it.

    Raises UserError if the window was never judged, or could not be.
    """
    record = decisions.read()
    release_id = _judged_release(record, window)
    if release_id is None:
        windows = [entry.window for entry in record.decisions if entry.outcome != "cannot_tell"]
        hint = ", ".join(windows[-5:]) or "none: `python -m pipelines monitor` judges"
        raise UserError(f"{window} is not a window that was judged; the last ones are {hint}")
    when = now().isoformat(timespec="microseconds")
    acceptance = Acceptance(window=window, release_id=release_id, who=who, why=why, when=when)
    decisions.append(acceptance)
    write_trend(record.decisions)
    return acceptance


def write_trend(record: Sequence[Decision]) -> None:
    """The page over the last windows, from the ledger and the windows' verdicts.

    Evidently's pages of earlier windows are removed: each is 4 MB.
    """
    verdicts: dict[str, Verdict] = {}
    windows = {decision.window for decision in record[-window_page.MAX_WINDOWS :]}
    for window in windows:
        path = WINDOWS / f"{window}.json"
        if path.exists():
            verdicts[window] = files.read_json(path, Verdict)
    files.write_text(TREND_PAGE, window_page.render_trend(record, verdicts))
    for page in WINDOWS.glob("*.evidently.html"):
        if page.name.removesuffix(".evidently.html") not in windows:
            page.unlink()


def _recorded_decision(record: Record, run_id: str | None) -> Decision | None:
    for decision in record.decisions:
        if run_id is not None and decision.run_id == run_id:
            return decision
    return None


def _judged_release(record: Record, window: str) -> str | None:
    """The release whose requests a window holds; None if it was not judged."""
    for decision in reversed(record.decisions):
        if decision.window == window:
            return None if decision.outcome == "cannot_tell" else decision.release_id
    return None


def _record_next_window(
    settings: Settings,
    record: Record,
    run_id: str | None,
    count_running: Callable[[], int | None],
) -> Decision:
    """The ledger's line is written after everything it speaks of, the trend page after the line."""
    time = now()
    window = collect(settings.monitor.window, record.decisions, time)
    known_questions = None
    if window.problem is None and window.release_id:
        known_questions = reference.known_questions(settings.encoder, window.release_id)
    verdict = _verdict(settings, window, record, known_questions)
    files.write_json(WINDOWS / f"{window.name}.json", verdict)
    page = window_page.render_window(verdict)
    files.write_text(WINDOWS / f"{window.name}.html", page)
    circumstances = Circumstances(
        now=time,
        num_running=count_running(),
        num_reviewed=_count_reviewed(settings, known_questions),
        num_waiting=_count_waiting(time),
        documents_changed=_documents_changed(window),
    )
    reaction = reactions.decide(settings.monitor, verdict, record.decisions, circumstances)
    judgement = Judgement(window, verdict, circumstances, reaction)
    needs_rows = _needs_rows(settings, window, record)
    decision_id = _decision_id(window, record, time)
    decision = _decision(judgement, decision_id, run_id, needs_rows)
    decisions.append(decision)
    write_trend([*record.decisions, decision])
    return decision


def _count_reviewed(settings: Settings, known_questions: KnownQuestions | None) -> int:
    """Reviewed questions that the live release has not learned from."""
    learned_questions: set[str] = set()
    if known_questions:
        learned_questions = set(map(normal, known_questions.questions))
    new_questions: set[str] = set()
    for lesson in lessons.load(settings.lessons):
        if not lesson.is_waiting:
            new_questions.update(map(normal, lesson.questions))
    return len(new_questions - learned_questions)


def _count_waiting(time: datetime.datetime) -> int:
    """Complaints without a review."""
    reviewed_ids = {review.request_id for review in reviews.read()}
    return len(complaints.read(TRAFFIC, reviewed_ids, time))


def _documents_changed(window: Window) -> bool | None:
    return reference.documents_changed(window.release_id) if window.release_id else None


def _needs_rows(settings: Settings, window: Window, record: Record) -> bool:
    """Whether the release's baseline is still smaller than params.yaml wants it to be."""
    names = decisions.baseline(window.release_id or "", *record)
    num_rows = sum(len(_table(name)) for name in names)
    return num_rows < settings.monitor.baseline_requests


def _decision_id(window: Window, record: Record, time: datetime.datetime) -> str:
    digest = files.text_digest(f"{window.name} {len(record.decisions)}")
    return f"d-{time:%Y%m%dT%H%M%S}-{digest[:8]}"


def _decision(
    judgement: Judgement, decision_id: str, run_id: str | None, needs_rows: bool
) -> Decision:
    window = judgement.window
    verdict = judgement.verdict
    circumstances = judgement.circumstances
    reaction = judgement.reaction
    return Decision(
        decision_id=decision_id,
        run_id=run_id,
        when=circumstances.now.isoformat(timespec="microseconds"),
        window=window.name,
        release_id=window.release_id,
        outcome=verdict.outcome,
        signals=[signal.name for signal in verdict.signals if signal.drifted],
        confirmed=reaction.is_confirmed,
        wanted=reaction.proposal,
        reaction=reaction.reaction,
        blocked_by=list(reaction.blocks),
        num_reviewed=circumstances.num_reviewed,
        num_waiting=circumstances.num_waiting,
        judged_to=window.judged_to,
        accepted=verdict.outcome == "no_drift" and needs_rows,
        verdict_digest=files.digest(WINDOWS / f"{window.name}.json"),
        report=(WINDOWS / f"{window.name}.html").as_posix(),
        reason=reaction.sentence,
    )


def _verdict(
    settings: Settings, window: Window, record: Record, known_questions: KnownQuestions | None
) -> Verdict:
    """The window against the best baseline there is."""
    if window.problem is not None or window.release_id is None or known_questions is None:
        return _cannot_tell(window)
    config = settings.monitor
    baseline = _baseline(window.release_id, record, known_questions)
    if baseline.kind == "golden":
        known_questions = known_questions.training()
    window_rows = _sample_rows(settings, window.table)
    baseline_rows = _sample_rows(settings, baseline.table)
    groups = GROUPS[baseline.kind]
    outcome = judging.judge(config, window_rows, baseline_rows, known_questions, groups)
    page = WINDOWS / f"{window.name}.evidently.html"
    sampling = presets.Sampling(config.max_tested, config.seed)
    evidently = presets.examine(window.table, baseline.table, sampling, page)
    baseline_kind = window_page.BASELINE_KINDS[baseline.kind]
    return Verdict(
        **_facts(window),
        num_tested=len(window_rows.table),
        outcome="drift" if outcome.drifting_signals else "no_drift",
        baseline=baseline.name,
        baseline_kind=baseline.kind,
        sentence=judging.sentence(outcome, len(window.table), baseline_kind),
        signals=outcome.signals,
        unmeasured=outcome.missing_signals,
        drastic=outcome.is_drastic,
        presets=evidently.presets,
        presets_say=evidently.overall,
    )


def _cannot_tell(window: Window) -> Verdict:
    return Verdict(
        **_facts(window),
        num_tested=0,
        outcome="cannot_tell",
        baseline=None,
        baseline_kind="none",
        sentence=window.problem or "Cannot tell: no release.",
        signals=[],
        unmeasured=[],
        drastic=False,
        presets=[],
        presets_say=None,
    )


def _facts(window: Window) -> dict[str, Any]:
    """What a verdict says of the window itself."""
    times = window.table["time"].dropna()
    return {
        "window": window.name,
        "release_id": window.release_id,
        "first": times.min().isoformat() if len(times) else None,
        "last": times.max().isoformat() if len(times) else None,
        "num_requests": len(window.table),
        "checks": window.checks,
    }


def _baseline(release_id: str, record: Record, known_questions: KnownQuestions) -> Baseline:
    """Accepted traffic of this release; else the last window of another; else the golden set."""
    tables: dict[str, pd.DataFrame] = {}
    for window in decisions.baseline(release_id, *record):
        table = _table(window)
        if len(table):  # else its rows were erased, or are older than retention.traffic_days
            tables[window] = table
    if tables:
        return Baseline("live", ", ".join(tables), pd.concat(tables.values(), ignore_index=True))
    for decision in reversed(record.decisions):
        is_other_release = decision.release_id not in (None, release_id)
        if is_other_release and decision.outcome != "cannot_tell":
            table = _table(decision.window)
            if len(table):
                return Baseline("predecessor", decision.window, table)
    return Baseline("golden", "golden set", reference.golden_table(known_questions))


def _table(window: str) -> pd.DataFrame:
    rows = files.read(WINDOWS / f"{window}.parquet", WINDOW)
    return reference.table_of(list(rows))


def _sample_rows(settings: Settings, table: pd.DataFrame) -> Rows:
    config = settings.monitor
    rows = judging.sample(table, config.max_tested, config.seed)
    return Rows(rows, embed(settings.encoder, rows["question"].tolist()))
