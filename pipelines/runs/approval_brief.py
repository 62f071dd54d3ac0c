"""What a person reads before they release a candidate: its scores and its worst answers."""

import json
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config import params
from pipelines.config.protection import Difference
from pipelines.config.release import ReleaseConfig
from pipelines.contracts.answers import ANSWERS
from pipelines.contracts.champion import Champion
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import CANDIDATE, Interval, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.decision import champions, release_page
from pipelines.runs.names import BRIEF, PAGE
from pipelines.runs.protection import Deviations
from pipelines.serving import declarations

METRICS = (
    *("exact_match", "token_f1", "groundedness", "refusal_recall", "false_refusal", "hit_at_5"),
    # Of a model that reads; a model that knows the FAQ by heart has no values here.
    *("faq_match", "document_f1", "unseen_f1", "unanswerable_refused", "answered", "supported"),
)
NUM_WORST = 8
MAX_FILES = 10  # that are named
MAX_CELL = 240  # characters of a question or an answer
MARKUP = set("\\`*_{}[]<>()#!|")
# Fields of a release that differ when the same model is measured again, against a newer champion.
MEASUREMENT = {
    "release_id",
    "scores",
    "verdict",
    "exact_match",
    "code_commit",
    "code_modified",
}


def write(folder: Path, deviations: Deviations) -> str | None:
    """Write Markdown about the exported candidate and return it.

    It begins with what the run has otherwise than the protected branch; then come the gate's
    reason, the scores against the champion and the worst answers. None if the live release serves
    the same model already.
    """
    record = files.read_json(folder / "models/triton/release.json", ReleaseRecord)
    live = champions.read(folder / "models/champion.json")
    if live and not is_new(record, folder / live.folder):
        return None
    scores = files.read_json(folder / "data/reports/scores.json", Scores)
    verdict = files.read_json(folder / "data/reports/verdict.json", Verdict)
    lines = [
        *_describe_deviations(deviations),
        f"## Release `{record.release_id}`?",
        "",
        f"**Gate:** {verdict.reason}",
        "",
        *[f"- {line}" for line in verdict.power],
        "",
        *_describe_declaration(folder),
        f"Compared with {_describe_champion(live)}. {_describe_size(scores, record)}.",
        "",
        *_table_of_scores(scores),
        "",
        f"### The {NUM_WORST} worst answers",
        "",
        *_table_of_worst_answers(folder / "data/answers.parquet"),
        "",
        "All answers are in `worst_answers.html` on the run's Reports page; `release.html` there "
        "has every rule of the gate with its number, and later what proof and canary saw.",
    ]
    release_page.write_candidate(folder / PAGE, record.release_id, verdict)
    text = "\n".join(lines)
    files.write_text(folder / BRIEF, text + "\n")
    return text


def _describe_deviations(deviations: Deviations) -> list[str]:
    """A table of the values, and the files of code; one sentence if there are none."""
    commit = deviations.commit[:12]
    lines: list[str] = []
    if deviations.values:
        lines += [
            f"### Values that differ from the protected branch's (`{commit}`)",
            "",
            _row(["value", "protected branch", "this run", ""]),
            "|---|---|---|---|",
            *[_deviation_row(difference) for difference in deviations.values],
            "",
        ]
    else:
        lines += [f"Every value is the protected branch's (`{commit}`).", ""]
    if deviations.code:
        names = ", ".join(f"`{name}`" for name in deviations.code[:MAX_FILES])
        more = len(deviations.code) - MAX_FILES
        rest = f" and {more} more" if more > 0 else ""
        lines += [f"**Code and questions that were not reviewed there:** {names}{rest}", ""]
    return lines


def _deviation_row(difference: Difference) -> str:
    before, after = (escape(json.dumps(value)) for value in difference[1:3])
    return _row([difference.key, before, after, "**looser**" if difference.is_looser else ""])


def is_new(record: ReleaseRecord, release: Path) -> bool:
    """Whether a candidate differs from the release in this folder in more than its measurement."""
    live = files.read_json(release / "release.json", ReleaseRecord)
    return record.model_dump(exclude=MEASUREMENT) != live.model_dump(exclude=MEASUREMENT)


def _describe_declaration(folder: Path) -> list[str]:
    """What release.expected declares, which the canary will tolerate; no lines if nothing."""
    config = params.load(folder / "params.yaml").section(ReleaseConfig).expected
    declaration = declarations.describe(declarations.merge(config, declarations.NOTHING))
    if not declaration:
        return []
    return [f"**Declared** (`release.expected`): the new release {declaration}.", ""]


def _describe_champion(live: Champion | None) -> str:
    if live is None:
        return "no champion yet: this would be the first"
    return f"the champion `{live.release_id}` ({live.who}: {live.why})"


def _describe_size(scores: Scores, record: ReleaseRecord) -> str:
    return (
        f"{scores.num_questions} golden questions, {record.num_documents} documents, "
        f"collection `{record.collection}`"
    )


def _table_of_scores(scores: Scores) -> list[str]:
    """A row a metric, a column a system."""
    systems = list(scores.systems.values())
    lines = [
        _row(["metric (mean [95 %])", *scores.systems]),
        "|---" * (len(systems) + 1) + "|",
    ]
    for metric in METRICS:
        measured = [system.metrics.get(metric) for system in systems]
        if any(interval and interval.num for interval in measured):
            lines.append(_row([metric, *map(_format_interval, measured)]))
    return lines


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format_interval(interval: Interval | None) -> str:
    if interval is None or interval.value is None or interval.low is None or interval.high is None:
        return "-"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _table_of_worst_answers(path: Path) -> list[str]:
    answers = [row for row in files.read(path, ANSWERS) if row["system"] == CANDIDATE]
    answers.sort(key=_answer_rank)
    lines = ["| question | answer | expected |", "|---|---|---|"]
    lines += [_answer_row(row) for row in answers[:NUM_WORST]]
    return lines


def _answer_rank(row: dict[str, Any]) -> tuple[float, float, str]:
    """Worst first. An unanswerable question has no right words, and is right if it is refused."""
    if row["exact_match"] is None:
        return row["refusal_recall"] or 0.0, 0.0, row["id"]
    return row["exact_match"], row["token_f1"], row["id"]


def _answer_row(row: dict[str, Any]) -> str:
    texts = (row["question"], row["answer"] or "(empty)", row["expected"])
    return _row([escape(text) for text in texts])


def escape(text: str) -> str:
    """The text as one line of a table, shortened if it is long.

    What a document or a question holds cannot become markup or a link.
    """
    line = " ".join(text.split())
    safe = "".join(f"\\{sign}" if sign in MARKUP else sign for sign in line)
    if len(safe) <= MAX_CELL:
        return safe
    return safe[:MAX_CELL].rstrip("\\") + " ..."
