"""The summary of a run for people: documents, index, scores, verdict, release and seconds.

It reads the small JSON files that stages write, so it needs no model and no service.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.contracts.report import CheckCode
from pipelines.errors import UserError

Content = dict[str, Any]  # a JSON file's

REPORTS = Path("data/reports")
SECONDS = Path(".state/seconds")
SEPARATOR = "=" * 100
FAILURE = (
    "STOPPED: a stage failed; its reason is above. What follows is the state before it. "
    "The same command continues."
)
METRICS = (
    "exact_match",
    "faq_match",
    "document_f1",
    "unseen_f1",
    "answered",
    "unanswerable_refused",
    "refusal_recall",
    "supported",
    "evidence_hit",
    "hit_at_1",
    "hit_at_5",
    "ndcg_at_10",
)
PAGES = {
    "data/reports/worst_answers.html": "the candidate's answers, worst first",
    "data/reports/corpus.html": "the corpus: counts, rejections, a map of the passages",
    "data/reports/validation_docs/index.html": "Great Expectations' data docs",
    "data/reports/verdict.json": "every rule of the gate",
    "models/triton": "the Triton model repository",
}
NEXT_STEPS = """
next
  python -m pipelines search "how do I add documents?"    the passages that the index finds
  python -m pipelines ask --candidate "QUESTION"          what this candidate answers, without a \
server
  python -m pipelines release --who YOU --why REASON      make this candidate the champion, \
if it was accepted
  python -m pipelines save --why REASON                   commit dvc.lock, metrics and reports, \
and push them with the data, so that others can pull what you have
  edit params.yaml, then make run                         only the stages that read what changed \
run again"""


def write(stages: list[str], since: float = 0.0, has_failed: bool = False) -> str:
    """The whole summary. `since`: the Unix time after which a stage counts as run just now."""
    parts = ["", SEPARATOR]
    if has_failed:
        parts += [FAILURE, ""]
    parts += _documents()
    parts += _scores()
    parts += _verdict()
    parts += _seconds(stages, since)
    parts += _pages()
    parts += [NEXT_STEPS, SEPARATOR]
    return "\n".join(parts)


def as_markdown() -> str:
    """The verdict and a table of scores. Raises UserError if there are no scores yet."""
    scores = _read(REPORTS / "scores.json")
    if not scores:
        raise UserError(f"{REPORTS / 'scores.json'} is missing: `make run` writes it")
    names = list(scores["systems"])
    lines = [
        f"**{_read(REPORTS / 'verdict.json').get('reason', 'not judged yet')}**",
        "",
        f"Scores on {scores['num_questions']} golden questions (mean [95 % interval]):",
        "",
        _markdown_row(["", *names]),
        _markdown_row(["---"] * (len(names) + 1)),
    ]
    for metric, cells in _score_rows(scores):
        lines.append(_markdown_row([f"`{metric}`", *cells]))
    return "\n".join(lines)


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _documents() -> list[str]:
    lines = _rejections() + _redactions()
    validation = _read(REPORTS / "validation.json")
    outcome = validation.get("reason", "not run")
    lines.append(f"documents   {_num_documents(validation)}; validation: {outcome}")
    embedding = _read(REPORTS / "embedding.json")
    if embedding:
        vectors = f"vectors reused {embedding['reused']}, made {embedding['made']}"
        lines.append(f"chunks      {embedding['chunks']}; {vectors} ({embedding['precision']})")
    index = _read(Path("data/index.json"))
    if index:
        content = f"{index['num_objects']} objects, encoder {index['encoder']['model']}"
        lines.append(f"collection  {index['collection']}: {content}")
    return lines


def _num_documents(validation: Content) -> str:
    for check in validation.get("checks", []):
        if check.get("code") == CheckCode.NUM_DOCUMENTS:
            return str(check["observed"])
    return "none"


def _rejections() -> list[str]:
    ingestion = _read(REPORTS / "ingestion.json")
    count = ingestion.get("rejected")
    if not count:
        return []
    stages = _join_counts(ingestion["rejected_at"], "at ")
    return [f"rejected    {count} ({stages}): data/rejections.parquet says why"]


def _redactions() -> list[str]:
    redaction = _read(REPORTS / "redaction.json")
    count = redaction.get("documents_changed")
    if not count:
        return []
    return [f"redacted    {_join_counts(redaction['by_type'])} in {count} documents"]


def _join_counts(counts: dict[str, int], preposition: str = "") -> str:
    """`3 at source, 1 at convert`, without zeros."""
    return ", ".join(f"{count} {preposition}{name}" for name, count in counts.items() if count)


def _scores() -> list[str]:
    scores = _read(REPORTS / "scores.json")
    if not scores:
        return []
    title = f"scores on {scores['num_questions']} golden questions (mean [95 % interval])"
    lines = ["", title, _row("", list(scores["systems"]))]
    return [*lines, *(_row(metric, cells) for metric, cells in _score_rows(scores))]


def _score_rows(scores: Content) -> Iterator[tuple[str, list[str]]]:
    """Each metric that was measured, with a cell for each system."""
    for metric in METRICS:
        intervals = [system["metrics"][metric] for system in scores["systems"].values()]
        if any(interval["num"] for interval in intervals):
            yield metric, list(map(_format_interval, intervals))


def _row(name: str, cells: list[str]) -> str:
    return f"  {name:22}" + "".join(f"{cell:>26}" for cell in cells)


def _format_interval(interval: Content) -> str:
    if interval["value"] is None:
        return "-"
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


def _verdict() -> list[str]:
    verdict = _read(REPORTS / "verdict.json")
    if not verdict:
        return []
    lines = ["", f"verdict     {verdict['reason']}"]
    for gap in verdict.get("not_judged", []):
        lines.append(f"not judged  {gap}")
    release = _read(Path("models/triton/release.json"))
    if release and verdict["accepted"] and release["adapter"] == verdict["candidate"]:
        lines.append(
            f"release     {release['release_id']} in models/triton "
            "(not yet the champion: `python -m pipelines release`)"
        )
    return lines


def _seconds(stages: list[str], since: float) -> list[str]:
    total = 0.0
    cells: list[str] = []
    for stage in stages:
        note = _read(SECONDS / f"{stage}.json")
        if not note:
            continue
        if note["ended"] < since:
            cells.append(f"{stage} unchanged")
            continue
        cells.append(f"{stage} {note['seconds']:.0f}")
        total += note["seconds"]
    explanation = "imports of each stage's own process not counted"
    return [
        "",
        "seconds by stage",
        "  " + ", ".join(cells),
        f"  {total:.0f} s in all, {explanation}",
    ]


def _pages() -> list[str]:
    lines = ["", "look at"]
    for path, content in PAGES.items():
        if Path(path).exists():
            lines.append(f"  {path:42} {content}")
    return lines


def _read(path: Path) -> Content:
    """The file's content; empty if there is no file."""
    if not path.exists():
        return {}
    content: Content = json.loads(path.read_text(encoding="utf-8"))
    return content
