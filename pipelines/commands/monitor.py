"""`python -m pipelines monitor`: judge the traffic since the last window, decide what follows, and put both on record.

It is no DVC stage: traffic is live data outside DVC, and a stage over a growing log would be stale at every `dvc repro` and fail where
there is no traffic. The DAG `monitor` runs it on a schedule, in the folder that serving writes to.

The line in data/reports/drift/decisions.jsonl is what counts: a run that was killed before it has judged nothing, the same command does.
"""

import fcntl
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipelines import encoding, faq, files, golden, place, reviews, vectorcache
from pipelines.checkouts import tree
from pipelines.commands import review, traffic
from pipelines.commands.traffic import LEDGER, MONITOR, WINDOWS, Window
from pipelines.config import params
from pipelines.config.encoder import EncoderConfig
from pipelines.config.params import Params
from pipelines.contracts.drift import Acceptance, BaselineKind, Decision, Group, Verdict
from pipelines.contracts.window import WINDOW
from pipelines.encoding import Vectors
from pipelines.errors import UserError
from pipelines.hardware import computes_in_bf16
from pipelines.monitoring import decision as decisions
from pipelines.monitoring import judging, presets, reference, report
from pipelines.monitoring import window as windows
from pipelines.monitoring.judging import Rows
from pipelines.monitoring.signals import Known
from pipelines.wording import normal

MAX_BATCH_TOKENS = 16384
DECISION, PAGE, KNOWN = MONITOR / "verdict.json", MONITOR / "index.html", MONITOR / "known"
GROUPS: dict[BaselineKind, tuple[Group, ...]] = {
    "live": ("input", "retrieval", "output", "quality", "operations"),
    "predecessor": ("input", "retrieval"),  # another model answers otherwise, which the gate and the canary have judged
    "golden": ("input",),  # golden questions have neither times nor feedback; what is answered to them, the gate has judged
    "none": (),
}


def run(run_id: str | None, running: int | None) -> int:
    """Print verdict and decision. Exit code 0 whatever they are; a repeated call with the same run id gives the recorded decision again."""
    main = place.shared_state().parent
    if main.resolve() != Path.cwd().resolve():
        raise UserError(f"traffic is logged in {main}: run this there, not in {Path.cwd()}")
    values = params.load()
    with _alone():
        before, accepted = decisions.read(LEDGER)
        recorded = next((decision for decision in before if run_id is not None and decision.run_id == run_id), None)
        decision = recorded or _judged(values, before, accepted, run_id, running)
        files.write_json(DECISION, decision)
    print(f"{decision.window}: {decision.reason}\nreaction {decision.reaction}" + (f" (wanted {decision.wanted})" if decision.blocked_by else "") + f"; report {decision.report}, trend {PAGE}")
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """One run at a time: two at once would judge the same requests and start the same work twice. The second waits and judges what came after."""
    lock = place.shared_state() / "monitor.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _judged(values: Params, before: list[Decision], accepted: list[Acceptance], run_id: str | None, running: int | None) -> Decision:
    """Judge the next window; the ledger's line is written after everything it speaks of, the trend page after the line."""
    config, now = values.monitor, traffic.now()
    window = traffic.collect(config.window, before, now)
    known = known_questions(values.encoder, window.release_id) if window.problem is None and window.release_id else None
    verdict = _verdict(values, window, before, accepted, known)
    files.write_json(WINDOWS / f"{window.name}.json", verdict)
    files.write_text(WINDOWS / f"{window.name}.html", report.window(verdict))
    told = decisions.Circumstances(now, _running(values) if running is None else running, *_reviewed(values, known), reference.documents_changed(window.release_id) if window.release_id else None)
    reasoned = decisions.decide(config, verdict, before, told)
    rows = sum(len(_table(name)) for name in decisions.baseline(window.release_id or "", before, accepted))
    decision = Decision(
        decision_id=f"d-{now:%Y%m%dT%H%M%S}-{files.text_digest(f'{window.name} {len(before)}')[:8]}", run_id=run_id, when=now.isoformat(timespec="microseconds"), window=window.name, release_id=window.release_id,
        outcome=verdict.outcome, signals=[signal.name for signal in verdict.signals if signal.drifted], confirmed=reasoned.confirmed, wanted=reasoned.wanted, reaction=reasoned.reaction,
        blocked_by=list(reasoned.blocked_by), num_reviewed=told.num_reviewed, num_waiting=told.num_waiting, judged_to=window.judged_to, accepted=verdict.outcome == "no_drift" and rows < config.baseline_requests,
        verdict_digest=files.digest(WINDOWS / f"{window.name}.json"), report=(WINDOWS / f"{window.name}.html").as_posix(), reason=reasoned.sentence,
    )  # fmt: skip
    decisions.append(LEDGER, decision)
    write_trend([*before, decision])
    return decision


def _running(values: Params) -> int | None:
    """Trainings and refreshes of Airflow whose checkout is open on this machine; None where other machines may run some."""
    return None if values.airflow.git_remote else sum(name.startswith(("train-", "refresh-")) for name in tree.unfinished())


def write_trend(made: Sequence[Decision]) -> None:
    """The page over the last windows, from the ledger and the windows' verdicts. Evidently's pages of earlier windows go: each is 4 MB."""
    paths = {decision.window: WINDOWS / f"{decision.window}.json" for decision in made[-report.SHOWN :]}
    files.write_text(PAGE, report.trend(made, {name: files.read_json(path, Verdict) for name, path in paths.items() if path.exists()}))
    for old in WINDOWS.glob("*.evidently.html"):
        if old.name.removesuffix(".evidently.html") not in paths:
            old.unlink()


def _verdict(values: Params, window: Window, before: list[Decision], accepted: list[Acceptance], known: Known | None) -> Verdict:
    """The window against the best baseline there is."""
    times = [None if pd.isna(when) else when.isoformat() for when in (window.table["time"].min(), window.table["time"].max())] if len(window.table) else [None, None]
    facts: dict[str, Any] = {"window": window.name, "release_id": window.release_id, "first": times[0], "last": times[1], "num_requests": len(window.table), "checks": window.checks}
    if window.problem is not None or window.release_id is None or known is None:
        return Verdict(
            **facts,
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
    kind, name, table = _baseline(window.release_id, before, accepted, known)
    if kind == "golden":
        known = known.training()
    config, page = values.monitor, WINDOWS / f"{window.name}.evidently.html"
    mine, theirs = (rows_of(values.encoder, judging.drawn(rows, config.max_tested, config.seed)) for rows in (window.table, table))
    judged = judging.judge(config, mine, theirs, known, GROUPS[kind])
    shown, overall = presets.examine(window.table, table, page, max_texts=config.max_tested, seed=config.seed)
    return Verdict(
        **facts, num_tested=len(mine.table), outcome="drift" if any(signal.drifted for signal in judged.signals) else "no_drift", baseline=name, baseline_kind=kind,
        sentence=judging.sentence(judged, len(window.table), report.KINDS[kind]), signals=judged.signals, unmeasured=judged.unmeasured, drastic=judged.drastic, presets=shown, presets_say=overall,
    )  # fmt: skip


def _baseline(release_id: str, before: list[Decision], accepted: list[Acceptance], known: Known) -> tuple[BaselineKind, str, pd.DataFrame]:
    """(kind, name, rows): accepted traffic of this release; else what the release before saw last; else the golden set."""
    live = decisions.baseline(release_id, before, accepted)
    if live:
        return "live", ", ".join(live), pd.concat([_table(name) for name in live], ignore_index=True)
    others = [decision for decision in before if decision.release_id not in (None, release_id) and decision.outcome != "cannot_tell"]
    if others:
        return "predecessor", others[-1].window, _table(others[-1].window)
    return "golden", "golden set", reference.golden_table(known)


def _table(name: str) -> pd.DataFrame:
    return reference.table_of(list(files.read(WINDOWS / f"{name}.parquet", WINDOW)))


def known_questions(config: EncoderConfig, release_id: str) -> Known:
    """The questions of the release's training and golden set, read once a release (data/reports/drift/known) and embedded once."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", release_id):
        raise UserError(f"data/traffic: release_id {release_id!r} is no name of a release: the log was not written by serving")
    path = KNOWN / f"{release_id}.parquet"
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            root, where = reference.sources(release_id, Path(folder))
            rows = reference.known_rows(faq.load(root / "data/faq"), golden.load(root / "data/golden"))
        files.write(path, reference.KNOWN.with_metadata({"source": where}), rows)
    rows = list(files.read(path, reference.KNOWN))
    return reference.known(rows, vectors_of(config, [row["question"] for row in rows]))


def rows_of(config: EncoderConfig, table: pd.DataFrame) -> Rows:
    return Rows(table, vectors_of(config, table["question"].tolist()))


def vectors_of(config: EncoderConfig, texts: list[str]) -> Vectors:
    """Unit vectors, shape (texts, dimensions), in the order of `texts`; what any command embedded before is not embedded again."""
    folder = encoding.locate(config.model, config.revision)
    precision: Literal["bf16", "fp32"] = "bf16" if computes_in_bf16() else "fp32"
    digests = {text: files.text_digest(text) for text in texts}
    with vectorcache.opened(place.shared_state() / "vectors.sqlite", f"{files.digest(folder)}/{precision}") as cache:
        there = cache.get(digests.values())
        missing = sorted(text for text, digest in digests.items() if digest not in there)
        if missing:
            made = encoding.load(folder, precision, MAX_BATCH_TOKENS).encode(missing)
            cache.put([digests[text] for text in missing], made)
            there |= dict(zip((digests[text] for text in missing), made, strict=True))
    return np.stack([there[digests[text]] for text in texts])


def _reviewed(values: Params, known: Known | None) -> tuple[int, int]:
    """(reviewed questions that teach and that the live release has not learned from, feedbacks that wait for a review)."""
    learned = {normal(question) for question in known.questions} if known else set()
    fresh = {normal(question) for lesson in review.taught(values) if not lesson.held for question in (*lesson.training, *lesson.golden)} - learned
    settled = {made.request_id for made in reviews.read(review.REVIEWS)}
    return len(fresh), len(windows.complaints(traffic.TRAFFIC, settled, traffic.now()))
