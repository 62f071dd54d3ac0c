"""Moves the live release to a new index if retrieval from it is good enough. The model stays."""

from dataclasses import dataclass
from pathlib import Path

from pipelines import files, vectorstore
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.gate import GateConfig
from pipelines.contracts.champion import Champion
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.report import Check, Report
from pipelines.contracts.scores import Interval
from pipelines.corpus import catalogue
from pipelines.decision import answer_rows, champions, scoring
from pipelines.decision.scoring import Bootstrap
from pipelines.errors import UserError
from pipelines.questions import golden, prompts
from pipelines.questions.golden import Golden
from pipelines.runtime import FOLDER as RUNTIME
from pipelines.runtime import readers
from pipelines.serving import experiment_record, live_server
from pipelines.serving.model_configs import ASSISTANT

RECEIPT = Path("data/index.json")
CHUNKS = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")
CHAMPION = Path("models/champion.json")
REPORT = Path("data/reports/retrieval.json")
GOLDEN = Path("data/golden")
QA = Path("data/qa")
ADAPTER = Path("models/adapter")
DOCUMENTS = Path("data/documents.parquet")
METRICS = ("hit_at_1", "hit_at_3", "hit_at_5", "mrr", "ndcg_at_10")


@dataclass(frozen=True)
class Config:
    """How retrieval is measured, and the floors that it must reach."""

    evaluate: EvaluateConfig
    gate: GateConfig


@dataclass(frozen=True)
class Outcome:
    """What `refresh` did. No release id: nothing answers from the index yet."""

    collection: str
    release_id: str | None


def refresh(config: Config) -> Outcome:
    """Measure, report, and point the live release's aliases at the new collection.

    Raises Refusal, with the aliases where they were, if a floor of `gate` for a retrieval metric is
    not reached. Raises UserError if the release would ignore who may read what.
    """
    receipt = files.read_json(RECEIPT, Receipt)
    champion = champions.read(CHAMPION)
    metrics = measure(receipt, config.evaluate, _load_questions(champion))
    report = judge(config.gate, metrics)
    _write(receipt, report, metrics)
    values = [f"{name} {_format_interval(interval)}" for name, interval in metrics.items()]
    print(f"{receipt.collection}: {', '.join(values)}")
    report.demand("retrieval from the new index", "The knowledge stays as it was")
    if champion is None:
        return Outcome(receipt.collection, None)
    _demand_readers(champion, receipt)
    aliases = [live_server.alias(champion.release_id), live_server.KNOWLEDGE]
    experiment = experiment_record.read()
    if experiment is not None:
        # Both releases of an experiment read the same, or their knowledge would be compared.
        aliases.append(live_server.alias(experiment.new))
    for alias in aliases:
        vectorstore.point_alias(alias, receipt.collection)
    return Outcome(receipt.collection, champion.release_id)


def _demand_readers(champion: Champion, receipt: Receipt) -> None:
    """Raises UserError if the live release would show everybody what not everyone may read.

    Whatever an experiment compares it with is newer.
    """
    code = f"{ASSISTANT}/*/{RUNTIME.name}/{Path(readers.__file__).name}"
    if receipt.num_restricted and not any(Path(champion.folder).glob(code)):
        raise UserError(
            f"{receipt.collection} holds passages that not everyone may read "
            f"({receipt.num_restricted}), and {champion.release_id} was exported by code that does "
            "not know of readers: it reads what it read before. Make a new release (`python -m "
            "pipelines release`)"
        )


def _load_questions(champion: Champion | None) -> list[Golden]:
    """The golden questions that `evaluate` measures retrieval on.

    Questions about documents are among them if the live release, or the candidate where nothing is
    live, shows passages.
    """
    refusal: str | None = None
    path = Path(champion.folder) / champion.prompt if champion else ADAPTER / prompts.FILE
    if path.exists():
        refusal = prompts.load(path).refusal
    restrictions = catalogue.restricted_pages(DOCUMENTS)
    questions: list[Golden] = []
    num_restricted = 0
    for question in golden.load_all(GOLDEN, QA, refusal):
        if question.page and not question.expects_refusal:
            num_restricted += question.page in restrictions
            if question.page not in restrictions:
                questions.append(question)
    if num_restricted:
        print(f"{num_restricted} golden questions are left out: not everyone may read their pages")
    return questions


def measure(
    receipt: Receipt, config: EvaluateConfig, questions: list[Golden]
) -> dict[str, Interval]:
    """Each retrieval metric over questions that name a page."""
    rankings = _search(receipt, questions, config.top_k)
    rows: list[dict[str, float]] = []
    for question, uris in zip(questions, rankings, strict=True):
        rows.append(scoring.retrieval(uris, answer_rows.relevant_pages(question, uris)))
    bootstrap = Bootstrap(config.num_resamples, config.seed)
    clusters = [scoring.cluster_of(question.model_dump()) for question in questions]
    metrics: dict[str, Interval] = {}
    for name in METRICS:
        values = [row[name] for row in rows]
        metrics[name] = scoring.interval(values, bootstrap, clusters)
    return metrics


def judge(config: GateConfig, metrics: dict[str, Interval]) -> Report:
    """The gate's floors for retrieval, and that there was something to measure."""
    checks: list[Check] = []
    for name, floor in config.floors.items():
        if name in METRICS:
            interval = metrics[name]
            check = Check(
                name=f"floor {name}",
                passed=(interval.low or 0.0) >= floor,
                observed=_format_interval(interval),
                expected=f"lower end >= {floor}",
            )
            checks.append(check)
    num_questions = metrics["hit_at_5"].num
    # Without a floor nobody asked for a measurement, such as after `adopt`.
    enough = Check(
        name="enough golden questions with a page",
        passed=num_questions > 0 or not checks,
        observed=str(num_questions),
        expected="> 0" if checks else "any: gate.floors has none for retrieval",
    )
    return Report.of([*checks, enough])


def _search(receipt: Receipt, questions: list[Golden], top_k: int) -> list[list[str]]:
    """The uris of the passages for each question, best first."""
    texts = [question.question for question in questions]
    rankings: list[list[str]] = []
    with vectorstore.open_retriever(receipt, CHUNKS, VECTORS) as retriever:
        retriever.prepare(texts, top_k)
        for text in texts:
            rankings.append([passage.uri for passage in retriever.find(text, top_k)])
    return rankings


def _write(receipt: Receipt, report: Report, metrics: dict[str, Interval]) -> None:
    content = {
        "collection": receipt.collection,
        "report": report.model_dump(),
        "metrics": {name: interval.model_dump() for name, interval in metrics.items()},
    }
    files.write_json(REPORT, content)


def _format_interval(interval: Interval) -> str:
    if interval.value is None:
        return "missing"
    return f"{interval.value:.3f} [{interval.low}, {interval.high}]"
