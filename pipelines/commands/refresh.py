"""`python -m pipelines refresh`: measure retrieval alone on the new index; where it is good enough, the live release reads its knowledge there. The model stays."""

from pathlib import Path

from pipelines import champions, encoding, files, golden, scoring
from pipelines.config import params
from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.report import Check, Report
from pipelines.contracts.scores import Interval
from pipelines.serving import live
from pipelines.vectorstore import aliases, collections

RECEIPT, CHUNKS, VECTORS, CHAMPION = Path("data/index.json"), Path("data/chunks.parquet"), Path("data/vectors.parquet"), Path("models/champion.json")
REPORT = Path("data/reports/retrieval.json")
METRICS = ("hit_at_1", "hit_at_3", "hit_at_5", "mrr", "ndcg_at_10")


def run() -> None:
    """Raises Refusal, with the alias where it was, when a floor of `gate` for a retrieval metric is not reached."""
    values = params.load()
    receipt = files.read_json(RECEIPT, Receipt)
    measured = measure(receipt, values.evaluate)
    floors = {name: floor for name, floor in values.gate.floors.items() if name in METRICS}
    checks = [Check(name=f"floor {name}", passed=(measured[name].low or 0.0) >= floor, observed=_shown(measured[name]), expected=f"lower end >= {floor}") for name, floor in floors.items()]
    checks.append(Check(name="enough golden questions with a page", passed=measured["hit_at_5"].num > 0, observed=str(measured["hit_at_5"].num), expected="> 0"))
    report = Report.of(checks)
    files.write_json(REPORT, {"collection": receipt.collection, "report": report.model_dump(), "metrics": {name: met.model_dump() for name, met in measured.items()}})
    print(f"{receipt.collection}: " + ", ".join(f"{name} {_shown(met)}" for name, met in measured.items()))
    report.demand("retrieval from the new index", "The knowledge stays as it was")
    released = champions.read(CHAMPION)
    if released is None:
        print("no release yet, so nothing answers from this index: `train` makes one")
        return
    for name in (live.alias(released.release_id), live.KNOWLEDGE):
        aliases.point(name, receipt.collection)
    print(f"{released.release_id} now reads its knowledge in {receipt.collection}")


def measure(receipt: Receipt, config: EvaluateConfig) -> dict[str, Interval]:
    """Each retrieval metric over the golden questions that name a page."""
    questions = [question for question in golden.load(Path("data/golden")) if question.page]
    texts = [question.question for question in questions]
    encoder = encoding.load(encoding.locate(receipt.encoder.model, receipt.encoder.revision), receipt.encoder.precision, 16384)
    with collections.opened(receipt, CHUNKS, VECTORS) as opened:
        found = [opened.search(text, vector, config.top_k) for text, vector in zip(texts, encoder.encode(texts), strict=True)] if texts else []
    rows = [scoring.retrieval([passage.uri for passage in passages], question.page or "") for question, passages in zip(questions, found, strict=True)]
    return {name: scoring.interval([row[name] for row in rows], config.num_resamples, config.seed) for name in METRICS}


def _shown(met: Interval) -> str:
    return "missing" if met.value is None else f"{met.value:.3f} [{met.low}, {met.high}]"
