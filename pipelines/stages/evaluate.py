"""evaluate: the golden set, answered by candidate, base model, most frequent answer and champion, and scored."""

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import champions, comparison, encoding, files, generation, pages, prompts, scoring
from pipelines import golden as golden_files
from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.answers import ANSWERS, METRICS, SLICES
from pipelines.contracts.champion import Champion
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.scores import BASE, CANDIDATE, CHAMPION, FREQUENT, Scores, System
from pipelines.encoding import Encoder
from pipelines.generation import Answer
from pipelines.golden import Golden
from pipelines.vectorstore.collections import Passage, opened

Row = dict[str, Any]


def run(
    config: EvaluateConfig, base: Path, adapter: Path, examples: Path, golden: Path, index: Path, chunks: Path, vectors: Path, champion: Path,
    answers: Path, worst_answers: Path, timings: Path, scores: Path, metrics: Path, slices: Path,
) -> None:  # fmt: skip
    """Measure every system on the same questions and passages. A bad number is recorded, never an error."""
    questions = golden_files.load(golden)
    seconds: dict[str, float] = {}
    receipt = files.read_json(index, Receipt)
    encoder = encoding.load(encoding.locate(receipt.encoder.model, receipt.encoder.revision), receipt.encoder.precision, 16384)
    began = time.monotonic()
    with opened(receipt, chunks, vectors) as live:
        asked = encoder.encode([question.question for question in questions])
        found = [live.search(question.question, vector, config.top_k) for question, vector in zip(questions, asked, strict=True)]
    seconds["retrieval"] = time.monotonic() - began
    rows = []
    released = champions.verified(champion)
    for system, answer in _systems(base, adapter, examples, released).items():
        began = time.monotonic()
        given = answer(questions, found, config)
        seconds[system] = time.monotonic() - began
        rows += _scored(system, questions, found, given, config, encoder, json.loads((examples / "facts.json").read_text())["refusals"])
    measured = _summed(rows, files.digest(adapter), released.release_id if released else None, files.digest(golden), config)
    files.write(answers, ANSWERS, sorted(rows, key=lambda row: (row["system"], row["id"])))
    files.write_json(scores, measured)
    files.write_json(metrics, {name: met.value for name, met in measured.systems[CANDIDATE].metrics.items()})  # for `dvc metrics`
    files.write_text(slices, _slices_csv(measured))
    files.write_text(worst_answers, pages.answers(rows, measured))
    files.write_json(timings, {"seconds": {name: round(value, 3) for name, value in seconds.items()}, "questions": len(questions)})
    for system, scored in measured.systems.items():
        met = scored.metrics["exact_match"]
        print(f"{system:14} exact match {met.value} [{met.low}, {met.high}]")


Answering = Callable[[list[Golden], list[list[Passage]], EvaluateConfig], list[Answer]]


def _systems(base: Path, adapter: Path, examples: Path, champion: Champion | None) -> dict[str, Answering]:
    """Name -> function that answers the questions. A system is loaded when it is its turn."""
    facts = json.loads((examples / "facts.json").read_text())
    template = prompts.load(adapter / prompts.FILE)

    def by_model(name: str, folder: Path, tuned: Path | None, prompt: prompts.Prompt) -> Answering:
        def answer(questions: list[Golden], found: list[list[Passage]], config: EvaluateConfig) -> list[Answer]:
            texts = [prompt.render(question.question, [passage.text for passage in passages[: config.num_passages]]) for question, passages in zip(questions, found, strict=True)]
            return generation.load(folder, tuned, config.precision).answer(texts, config.max_new_tokens, config.batch_size, progress=name)

        return answer

    systems = {CANDIDATE: by_model(CANDIDATE, base, adapter, template), BASE: by_model(BASE, base, None, template)}
    systems[FREQUENT] = lambda questions, found, config: [Answer(facts["most_frequent_answer"], 0, 0) for _ in questions]
    if champion:
        folder = Path(champion.folder)
        systems[CHAMPION] = by_model(CHAMPION, folder / champion.model, None, prompts.load(folder / champion.prompt))
    return systems


def _scored(system: str, questions: list[Golden], found: list[list[Passage]], given: list[Answer], config: EvaluateConfig, encoder: Encoder, refusals: list[str]) -> list[Row]:
    """One row a question with every metric of contracts/answers.py; None where a metric does not apply."""
    texts = [answer.text for answer in given]
    vectors = encoder.lookup([*texts, *(question.expected for question in questions)])
    likeness = [float(vectors[text] @ vectors[question.expected]) for text, question in zip(texts, questions, strict=True)]
    rouge = scoring.rouge_l(texts, [question.expected for question in questions])
    grounded = _groundedness(texts, found, config, encoder)
    refused = [comparison.normalized(text) in {comparison.normalized(refusal) for refusal in refusals} for text in texts]
    rows = []
    for place, question in enumerate(questions):
        in_scope, answer = question.kind == "faq", given[place]
        pages_found = [passage.uri for passage in found[place]]
        row: Row = {"system": system, "answer": answer.text, **question.model_dump(), "retrieved": pages_found, "cited": [passage.chunk_id for passage in found[place][: config.num_passages]]}
        row |= {"exact_match": scoring.exact_match(answer.text, question.expected), "token_f1": scoring.token_f1(answer.text, question.expected), "rouge_l": rouge[place]}
        row |= {"embedding_similarity": round(min(1.0, max(0.0, likeness[place])), 6), "groundedness": None if refused[place] else grounded[place]}
        row |= {"refusal_recall": None if in_scope else float(refused[place]), "false_refusal": float(refused[place]) if in_scope else None}
        row |= scoring.retrieval(pages_found, question.page) if question.page else dict.fromkeys(("hit_at_1", "hit_at_3", "hit_at_5", "mrr", "ndcg_at_10"))
        rows.append(row | {"num_prompt_tokens": answer.num_prompt_tokens, "num_new_tokens": answer.num_new_tokens})
    return rows


def _groundedness(texts: list[str], found: list[list[Passage]], config: EvaluateConfig, encoder: Encoder) -> list[float]:
    """Share of each answer's sentences that a retrieved passage's sentence supports (cosine at least evaluate.grounded_similarity)."""
    supports = [[part for passage in passages[: config.num_passages] for part in comparison.sentences(passage.text)] for passages in found]
    claims = [comparison.sentences(text) for text in texts]
    vectors = encoder.lookup(part for parts in (*supports, *claims) for part in parts)
    shares = []
    for said, known in zip(claims, supports, strict=True):
        similarity = np.stack([vectors[part] for part in said]) @ np.stack([vectors[part] for part in known]).T
        shares.append(float((similarity.max(axis=1) >= config.grounded_similarity).mean()))
    return shares


def _summed(rows: list[Row], candidate: str, champion: str | None, golden_digest: str, config: EvaluateConfig) -> Scores:
    by_system: dict[str, list[Row]] = {}
    for row in rows:
        by_system.setdefault(row["system"], []).append(row)
    values = {system: {metric: [row[metric] for row in some] for metric in METRICS} for system, some in by_system.items()}
    draws = (config.num_resamples, config.seed)
    systems = {
        system: System(metrics={metric: scoring.interval(values[system][metric], *draws) for metric in METRICS}, slices=scoring.by_slice(some, SLICES, *draws)) for system, some in by_system.items()
    }
    differences = {system: {metric: scoring.difference(values[CANDIDATE][metric], values[system][metric], *draws) for metric in METRICS} for system in by_system if system != CANDIDATE}
    return Scores(candidate=candidate, champion=champion, num_questions=len(by_system[CANDIDATE]), golden_digest=golden_digest, systems=systems, differences=differences)


def _slices_csv(measured: Scores) -> str:
    """The candidate's exact match by slice, for `dvc plots`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["slice", "exact_match", "low", "high", "questions"])
    for name, met in measured.systems[CANDIDATE].slices.items():
        if not name.startswith("topic:"):
            writer.writerow([name, met.value, met.low, met.high, met.num])
    return out.getvalue()
