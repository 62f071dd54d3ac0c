"""model_card.md: what a release is, in Hugging Face's format; every number is an artifact's.

`export` writes it without a decision, and `release` adds who decided, and why.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.contracts.base_receipt import MADE, BaseReceipt
from pipelines.contracts.package_licences import NOT_STATED
from pipelines.contracts.receipt import Encoder
from pipelines.contracts.redaction import Redaction
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import BASE, CANDIDATE, CHAMPION, Interval, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.decision.bill_of_materials import FILE as BILL
from pipelines.decision.bill_of_materials import name_of

FILE = "model_card.md"
RELEASE_HEADING = "\n## Release\n"
NOT_RELEASED = "Not released: nobody has decided about this export yet."
MIN_QUESTIONS = 10  # of a slice; an interval over fewer is half of the scale wide
SYSTEMS = (CANDIDATE, BASE, CHAMPION)  # those whose scores the card shows
REFUSALS = {
    "answered": "share of the questions with an answer that it answers",
    "unanswerable_refused": "share of the questions without an answer that it refuses",
    "unseen_f1": "token F1 on documents that training has no question about",
}
Row = Iterable[object]


class Decision(NamedTuple):
    """A person's."""

    kind: str  # Approved, Released
    who: str
    when: str
    why: str


@dataclass(frozen=True)
class Training:
    """Counts of what the adapter was trained on, and the section `finetune` of params.yaml."""

    num_examples: int
    num_validation_examples: int
    digest: str  # of the examples
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """What the card is about. `sources`: source of documents -> how many there are."""

    record: ReleaseRecord
    base: BaseReceipt
    encoder: Encoder
    sources: Mapping[str, int]
    redaction: Redaction
    training: Training
    scores: Scores
    verdict: Verdict


def render(subject: Subject) -> str:
    """The whole card, before anybody has released it."""
    from huggingface_hub import ModelCard

    sections = [
        f"---\n{_head(subject)}\n---",
        f"# Assistant {subject.record.release_id}",
        "A language model with a retrieval index: it answers from the passages that the index "
        "finds in the documents below. It is made for questions about these documents alone.",
        *_describe_model(subject),
        *_describe_data(subject),
        *_describe_training(subject.training),
        *_describe_scores(subject),
        *_describe_gate(subject.verdict),
        *_describe_limits(subject),
    ]
    text = "\n\n".join(sections) + f"\n{RELEASE_HEADING}\n{NOT_RELEASED}\n"
    assert ModelCard(text).data.model_name == subject.record.release_id
    return text


def add_release(card: str, decisions: Iterable[Decision], gaps: Iterable[str]) -> str:
    """The card of an export with the decisions that made it a release.

    `gaps`: what the canary could not tell.
    """
    head, heading, _ = card.partition(RELEASE_HEADING)
    assert heading, f"{FILE} has no section for the release"
    lines: list[str] = []
    for kind, who, when, why in decisions:
        lines.append(f"- {kind} by {_cell(who)} at {when}: {_cell(why)}")
    lines += [f"- the canary could not tell: {_cell(gap)}" for gap in gaps]
    section = "\n".join(lines)
    return f"{head}{heading}\n{section}\n"


def _head(subject: Subject) -> str:
    """The YAML that Hugging Face's hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    results: list[EvalResult] = []
    for name, interval in subject.scores.systems[CANDIDATE].metrics.items():
        if interval.value is not None:
            result = EvalResult(
                task_type="question-answering",
                dataset_type="golden-questions",
                dataset_name=f"golden questions {subject.scores.golden_digest[:12]}",
                metric_type=name,
                metric_value=interval.value,
                metric_args={"low": interval.low, "high": interval.high, "num": interval.num},
            )
            results.append(result)
    base = subject.base
    is_from_hub = base.source != MADE and ":" not in base.source
    data = ModelCardData(
        license="unknown" if base.licence is None else base.licence,
        base_model=base.source if is_from_hub else None,
        pipeline_tag="question-answering",
        tags=["retrieval-augmented-generation"],
        model_name=subject.record.release_id,
        eval_results=results,
    )
    return str(data.to_yaml())


def _describe_model(subject: Subject) -> Iterator[str]:
    record, base, encoder = subject.record, subject.base, subject.encoder
    yield "## Model"
    columns = ("part", "name", "revision", "licence", "sha256")
    encoder_licence = encoder.licence or NOT_STATED
    rows = [
        ("base model", base.source, base.revision, _base_licence(base), record.base),
        ("encoder", name_of(encoder.model), encoder.revision, encoder_licence, encoder.digest),
        ("adapter", "trained here", None, None, record.adapter),
        ("merged weights", "exported here", None, None, record.model),
        ("prompt template", record.prompt, None, None, record.prompt_digest),
    ]
    yield _table(columns, rows)
    parameters = f"{base.num_parameters:,} parameters"
    yield f"{base.architecture} of {parameters}. {BILL} lists every package that it runs on."


def _base_licence(base: BaseReceipt) -> str:
    return "made here" if base.source == MADE else base.licence or NOT_STATED


def _describe_data(subject: Subject) -> Iterator[str]:
    record, redaction = subject.record, subject.redaction
    yield "## Data"
    rows: list[Row] = [(name, count) for name, count in sorted(subject.sources.items())]
    yield _table(("source of documents", "documents"), rows)
    yield (
        f"{record.num_documents} documents (sha256 {record.documents}), cut into passages (sha256 "
        f"{record.chunks}), in the index {record.collection}."
    )
    scores = subject.scores
    yield f"{scores.num_questions} golden questions (digest {scores.golden_digest})."
    yield "## Personal data"
    counts = redaction.by_type
    yield _table(
        ("kind", "occurrences", "what was done"),
        [(kind, counts[kind], redaction.actions[kind]) for kind in sorted(counts)],
    )
    yield (
        f"{redaction.documents_changed} documents were changed before anything was built of them. "
        "Kinds that are not listed were not looked for."
    )


def _describe_training(training: Training) -> Iterator[str]:
    yield "## Training"
    yield (
        f"{training.num_examples} examples and {training.num_validation_examples} for validation "
        f"(sha256 {training.digest}), by DeepSpeed and PEFT:"
    )
    yield _table(("setting", "value"), training.settings.items())


def _describe_scores(subject: Subject) -> Iterator[str]:
    scores = subject.scores
    systems = [name for name in SYSTEMS if name in scores.systems]
    yield "## Scores"
    yield "Means with 95 % bootstrap intervals; in parentheses the number of questions."
    rows: list[Row] = []
    for metric in scores.systems[CANDIDATE].metrics:
        cells = [_interval(scores.systems[name].metrics.get(metric)) for name in systems]
        rows.append((metric, *cells))
    yield _table(("metric", *systems), rows)
    yield "Exact match by slice:"
    slices = scores.systems[CANDIDATE].slices
    yield _table(("slice", CANDIDATE), [(name, _interval(slices[name])) for name in sorted(slices)])


def _describe_gate(verdict: Verdict) -> Iterator[str]:
    yield "## The gate"
    yield _cell(verdict.reason)
    rows: list[Row] = []
    for rule in verdict.rules:
        rows.append((rule.name, rule.observed, rule.expected, "yes" if rule.passed else "no"))
    yield _table(("rule", "observed", "expected", "kept"), rows)
    for override in verdict.overrides:
        rules = _cell(", ".join(override.rules))
        author = f"{_cell(override.who)} until {override.until}"
        yield f"Overridden by {author}: {rules}, because: {_cell(override.why)}"


def _describe_limits(subject: Subject) -> Iterator[str]:
    yield "## Known limits"
    metrics = subject.scores.systems[CANDIDATE].metrics
    lines = [f"- {text}: {_interval(metrics.get(name))}" for name, text in REFUSALS.items()]
    lines += [f"- not judged: {_cell(gap)}" for gap in subject.verdict.not_judged]
    lines += [f"- {_cell(text)}" for text in subject.verdict.power]
    for name, interval in sorted(subject.scores.systems[CANDIDATE].slices.items()):
        if interval.num < MIN_QUESTIONS:
            count = f"{interval.num} of {MIN_QUESTIONS} questions"
            lines.append(f"- cannot tell: {_cell(name)} has {count}")
    yield "\n".join(lines)


def _interval(interval: Interval | None) -> str:
    if interval is None or interval.value is None:
        return "not measured"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}] ({interval.num})"


def _table(columns: Row, rows: Iterable[Row]) -> str:
    lines = [_line(columns), _line("---" for _ in columns), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Row) -> str:
    texts = [_cell(cell) for cell in cells]
    return f"| {' | '.join(texts)} |"


def _cell(value: object) -> str:
    """In one line, with nothing that Markdown or HTML would take for its own."""
    if value is None:
        return ""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`")
