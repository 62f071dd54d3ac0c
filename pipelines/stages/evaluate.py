"""evaluate: every system answers the golden set, and each answer is scored."""

import csv
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.generation import GenerationConfig
from pipelines.contracts.answers import ANSWERS
from pipelines.contracts.calibration import Calibration
from pipelines.contracts.champion import Champion
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.scores import CANDIDATE, Scores
from pipelines.decision import answer_rows, answers_page, champions, scoring, systems
from pipelines.decision.answer_rows import Row, Scorer
from pipelines.decision.systems import Case, Reply, Weights
from pipelines.questions import golden, prompts, reading_set
from pipelines.questions.golden import Golden
from pipelines.training import answer_engine
from pipelines.vectorstore import Encoder, Passage, open_retriever

Seconds = dict[str, float]  # step -> its duration


@dataclass(frozen=True)
class Config:
    """Sections of params.yaml."""

    evaluate: EvaluateConfig
    generation: GenerationConfig


@dataclass(frozen=True)
class Inputs:
    """The models, the golden set, and the index with the files that it can be rebuilt from."""

    base: Path
    adapter: Path
    examples: Path
    golden: Path
    qa: Path
    index: Path
    calibration: Path
    chunks: Path
    vectors: Path
    champion: Path


@dataclass(frozen=True)
class Outputs:
    """Answers and scores, and the forms of them that people and `dvc metrics` look at."""

    answers: Path
    worst_answers: Path
    timings: Path
    scores: Path
    metrics: Path
    slices: Path


def run(config: Config, inputs: Inputs, outputs: Outputs) -> None:
    """Measure every system on the same questions and passages.

    A bad number is recorded; it is never an error.
    """
    seconds: Seconds = {}
    questions = _load_questions(inputs)
    facts = json.loads((inputs.examples / "facts.json").read_text())
    with _stopwatch(seconds, "retrieval"):
        cases, encoder = _retrieve(config.evaluate, inputs, questions)
    if facts["has_reading_set"]:
        cases = sorted([*cases, *_reading_cases(inputs)], key=_id)
    champion = champions.read_verified(inputs.champion)
    calibration = files.read_json(inputs.calibration, Calibration)
    scorer = Scorer(config.evaluate, encoder, facts["refusals"], calibration.min_support)
    choice = answer_engine.choose(config.generation)
    print(choice.reason, flush=True)
    weights = Weights(inputs.base, inputs.adapter)
    settings = systems.AnswerSettings(facts["refusals"], config.evaluate.max_readings)
    candidate = systems.candidate(weights, choice.engine, calibration, settings)
    competitors = systems.select(candidate, facts["most_frequent_answer"], champion, encoder)
    rows: list[Row] = []
    passages: dict[str, list[str]] = {}
    for name, system in competitors.items():
        asked = systems.questions_of(name, cases, config.evaluate)
        with _stopwatch(seconds, name):
            replies = system.answer(asked, config.evaluate)
        rows += answer_rows.score(name, asked, replies, scorer)
        if name == CANDIDATE:
            passages = _cited_texts(asked, replies)
    bootstrap = scoring.Bootstrap(config.evaluate.num_resamples, config.evaluate.seed)
    scores = scoring.summarize(rows, _subject(inputs, champion), bootstrap)
    _write(outputs, rows, scores, passages)
    _write_timings(outputs.timings, seconds, len(cases))
    _print(scores)


def _load_questions(inputs: Inputs) -> list[Golden]:
    """The golden set; questions about documents only for a model that is shown passages."""
    template = prompts.load(inputs.adapter / prompts.FILE)
    return golden.load_all(inputs.golden, inputs.qa, template.refusal)


def _retrieve(
    config: EvaluateConfig, inputs: Inputs, questions: list[Golden]
) -> tuple[list[Case], Encoder]:
    """The golden questions, each with its passages, and the encoder whose vectors they have."""
    receipt = files.read_json(inputs.index, Receipt)
    cases: list[Case] = []
    with open_retriever(receipt, inputs.chunks, inputs.vectors) as retriever:
        retriever.prepare([question.question for question in questions], config.top_k)
        for question in questions:
            cases.append(Case(question, retriever.find(question.question, config.top_k)))
    return cases, retriever.encoder


def _reading_cases(inputs: Inputs) -> list[Case]:
    """The golden questions of the reading set, each with its own passages."""
    template = prompts.load(inputs.adapter / prompts.FILE)
    reading = reading_set.load(inputs.qa / reading_set.FOLDER.name)
    cases: list[Case] = []
    for question, item in zip(reading.exam(template.refusal or ""), reading.golden, strict=True):
        passages: list[Passage] = []
        for passage, similarity in zip(reading.of(item), item.similarities, strict=True):
            passages.append(
                Passage(
                    chunk_id=f"{reading_set.TOPIC}-{passage.number}",
                    uri=passage.uri,
                    headings=[],
                    text=passage.text,
                    similarity=similarity,
                    title=passage.title,
                )
            )
        cases.append(Case(question, passages))
    return cases


def _id(case: Case) -> str:
    return case.question.id


def _subject(inputs: Inputs, champion: Champion | None) -> scoring.Subject:
    return scoring.Subject(
        candidate=files.digest(inputs.adapter),
        champion=champion.release_id if champion else None,
        golden_digest=_golden_digest(inputs),
    )


def _golden_digest(inputs: Inputs) -> str:
    parts = [files.digest(inputs.golden)]
    for folder in (inputs.qa / "golden", inputs.qa / reading_set.FOLDER.name):
        if folder.is_dir():
            parts.append(files.digest(folder))
    return files.text_digest("\n".join(parts))


@contextmanager
def _stopwatch(seconds: Seconds, step: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[step] = time.monotonic() - start


def _cited_texts(cases: list[Case], replies: list[Reply]) -> dict[str, list[str]]:
    """Id of a question -> the texts of the passages that its answer cites."""
    texts: dict[str, list[str]] = {}
    for case, reply in zip(cases, replies, strict=True):
        texts[case.question.id] = [passage.text for passage in reply.passages]
    return texts


def _write(
    outputs: Outputs, rows: list[Row], scores: Scores, passages: dict[str, list[str]]
) -> None:
    candidate = scores.systems[CANDIDATE].metrics
    files.write(outputs.answers, ANSWERS, sorted(rows, key=_system_and_id))
    files.write_json(outputs.scores, scores)
    # For `dvc metrics`.
    files.write_json(outputs.metrics, {name: mean.value for name, mean in candidate.items()})
    files.write_text(outputs.slices, _slices_csv(scores))
    files.write_text(outputs.worst_answers, answers_page.render_answers(rows, scores, passages))


def _system_and_id(row: Row) -> tuple[str, str]:
    return row["system"], row["id"]


def _write_timings(path: Path, seconds: Seconds, num_questions: int) -> None:
    durations = {step: round(duration, 3) for step, duration in seconds.items()}
    content: dict[str, Any] = {"seconds": durations, "questions": num_questions}
    files.write_json(path, content)


def _slices_csv(scores: Scores) -> str:
    """The candidate's exact match by slice, for `dvc plots`; topics would be too many bars."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["slice", "exact_match", "low", "high", "questions"])
    for name, mean in scores.systems[CANDIDATE].slices.items():
        if not name.startswith("topic:"):
            writer.writerow([name, mean.value, mean.low, mean.high, mean.num])
    return buffer.getvalue()


def _print(scores: Scores) -> None:
    for name, system in scores.systems.items():
        match = system.metrics["exact_match"]
        print(f"{name:14} exact match {match.value} [{match.low}, {match.high}]")
