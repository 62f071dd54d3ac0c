"""What the assistant answers to questions that nobody wrote its training for.

    python -m pytest tests/bench/test_reading.py -s -o norecursedirs=    (after `make run`)

The first test asks what a newcomer would (new_user_questions.jsonl, written before the model was
trained): an answer is right if it holds one of the phrases that stand with its question. The
others ask SQuAD and XQuAD, whose articles, questions and answers training has not seen, open book:
a quarter of the articles is left out of the index, and questions about these are to be refused.
READING_QUESTIONS (200) are asked of each set about the articles that stay, and half as many about
those that are gone. `without_limits` is the candidate before answers are withheld, `base` the model
before training, `nearest_sentence` the sentence that is nearest to the question, of the passages
that the others read. Answers are kept in `.state`, so that a second run is short.

Not yet measured.
"""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.params import Params
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.scores import CANDIDATE, FREQUENT, NEAREST
from pipelines.decision import answer_rows, scoring, systems
from pipelines.decision.answer_rows import Row
from pipelines.decision.scoring import Bootstrap
from pipelines.decision.systems import Case, System
from pipelines.questions import document_questions, faq
from pipelines.questions.golden import Golden
from pipelines.runtime import comparison
from pipelines.vectorstore import hold_server
from tests.bench import question_sets, reading
from tests.bench.question_sets import SETS, Paragraph, Question, needs_data
from tests.bench.reading import Candidate, KnowledgeFiles

USER_QUESTIONS = Path(__file__).with_name("new_user_questions.jsonl")
DOCUMENTS_FILE = Path("data/documents.parquet")
FAQ = Path("data/faq")
CORPUS = KnowledgeFiles(reading.RECEIPT, reading.CHUNKS, reading.VECTORS)
PUBLIC_SET = KnowledgeFiles(question_sets.RECEIPT, question_sets.CHUNKS, question_sets.VECTORS)
MAX_WRONG_SHARE = 0.25  # of the newcomer's questions
NUM_QUESTIONS = int(os.environ.get("READING_QUESTIONS", "200"))
REMOVED_SHARE = 0.25  # of the articles of a public set
MIN_REFUSED = 0.5  # of the questions whose article was removed
SEED = 7
NUM_SHOWN = 10  # wrong answers that are printed
NO_LIMITS = "without_limits"
SHOWN_METRICS = (
    "hit_at_1",
    "hit_at_3",
    "evidence_hit",
    "document_match",
    "document_f1",
    "answer_contained",
    "false_refusal",
    "unanswerable_refused",
    "supported",
)


class UserQuestion(NamedTuple):
    """A newcomer's question. Without phrases and page, no document answers it."""

    question: str
    must_contain: list[str]  # phrases, of which a right answer holds one
    page: str | None


class Verdict(StrEnum):
    RIGHT = "right"
    REFUSAL = "refused"
    WRONG = "wrong"


@pytest.fixture(scope="module")
def candidate() -> Candidate:
    return reading.open_candidate()


def test_a_newcomer_is_answered_right_or_refused_and_never_gets_the_answer_of_another_topic(
    candidate: Candidate,
) -> None:
    questions = load_user_questions()
    assert stale_questions(questions) == [], "the pages do not say so any more"
    cases = reading.retrieve(candidate, list(map(to_golden, questions)), CORPUS)
    replies = candidate.model.answer(cases, candidate.config)
    answers = [reply.answer.text for reply in replies]
    counts: dict[bool, Counter[Verdict]] = {True: Counter(), False: Counter()}
    strays: list[str] = []
    for question, answer in zip(questions, answers, strict=True):
        verdict = judge(candidate, question, answer)
        counts[bool(question.must_contain)][verdict] += 1
        if verdict is Verdict.WRONG:
            topic = topic_of(answer, question)
            strays += [f"{question.question}: {topic}"] if topic else []
            print(f"wrong: {question.question}\n    {answer}")
    print(f"of {counts[True].total()} questions that the documents answer: {show(counts[True])}")
    print(f"of {counts[False].total()} that they do not: {show(counts[False])}")
    num_wrong = sum(count[Verdict.WRONG] for count in counts.values())
    assert strays == []
    assert num_wrong <= MAX_WRONG_SHARE * len(questions)


def load_user_questions() -> list[UserQuestion]:
    lines = USER_QUESTIONS.read_text(encoding="utf-8").splitlines()
    return [UserQuestion(**json.loads(line)) for line in lines]


def stale_questions(questions: list[UserQuestion]) -> list[str]:
    """Questions whose page holds none of their phrases."""
    texts: dict[str, str] = {}
    for row in files.read(DOCUMENTS_FILE, DOCUMENTS):
        texts[row["uri"]] = row["text"]
    stale: list[str] = []
    for question in questions:
        if question.page is not None and not holds(question, texts.get(question.page, "")):
            stale.append(question.question)
    return stale


def holds(question: UserQuestion, text: str) -> bool:
    return any(document_questions.contains(text, phrase) for phrase in question.must_contain)


def to_golden(question: UserQuestion) -> Golden:
    is_answerable = bool(question.must_contain)
    return Golden(
        id=question.question,
        question=question.question,
        expected=question.must_contain[0] if is_answerable else "a refusal",
        topic="newcomer",
        page=question.page,
        kind="document" if is_answerable else "unanswerable",
        style="plain",
    )


def judge(candidate: Candidate, question: UserQuestion, answer: str) -> Verdict:
    """Any answer to a question that no document answers is wrong."""
    if candidate.scorer.is_refusal(answer):
        return Verdict.REFUSAL
    return Verdict.RIGHT if holds(question, answer) else Verdict.WRONG


def topic_of(answer: str, question: UserQuestion) -> str | None:
    """The topic of the FAQ whose canonical answer this is, if that is about another page."""
    for topic in faq.load(FAQ):
        is_its_answer = comparison.normalize(topic.answer) == comparison.normalize(answer)
        if is_its_answer and topic.page != question.page:
            return topic.topic
    return None


def show(counts: Counter[Verdict]) -> str:
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)


@needs_data
@pytest.mark.parametrize("name", list(SETS))
def test_the_tuned_model_beats_the_nearest_sentence_and_refuses_what_the_index_lacks(
    name: str,
    candidate: Candidate,
    other_clone: Callable[[str], AbstractContextManager[Path]],
) -> None:
    values = params.load()
    paragraphs, questions = draw(name, candidate.refusal)
    with other_clone(name), hold_server():
        cases = index_and_retrieve(name, values, paragraphs, questions, candidate)
    print(f"{name}: {len(paragraphs)} paragraphs indexed, {len(questions)} questions")
    rows: dict[str, list[Row]] = {}
    for system_name, system in competitors(candidate).items():
        start = time.monotonic()
        replies = system.answer(cases, candidate.config)
        print(f"{system_name} answered in {time.monotonic() - start:.0f} s")
        rows[system_name] = answer_rows.score(system_name, cases, replies, candidate.scorer)
    print_mistakes(rows[CANDIDATE])
    print_table(rows, Bootstrap(candidate.config.num_resamples, candidate.config.seed))
    assert mean(rows[CANDIDATE], "document_f1") > mean(rows[NEAREST], "document_f1")
    assert mean(rows[CANDIDATE], "unanswerable_refused") >= MIN_REFUSED


def draw(name: str, refusal: str) -> tuple[dict[str, Paragraph], list[Golden]]:
    """The paragraphs that stay, and questions about these and about removed articles."""
    dice = random.Random(SEED)
    paragraphs, questions = question_sets.load_set(SETS[name])
    titles = sorted({paragraph.title for paragraph in paragraphs.values()})
    removed_titles = set(dice.sample(titles, round(REMOVED_SHARE * len(titles))))
    present_paragraphs: dict[str, Paragraph] = {}
    for paragraph_name, paragraph in paragraphs.items():
        if paragraph.title not in removed_titles:
            present_paragraphs[paragraph_name] = paragraph
    present: list[Question] = []
    absent: list[Question] = []
    for question in questions:
        group = present if question.paragraph in present_paragraphs else absent
        group.append(question)
    sample: list[Golden] = []
    for question in dice.sample(present, min(NUM_QUESTIONS, len(present))):
        sample.append(about_paragraph(name, len(sample), question))
    for question in dice.sample(absent, min(NUM_QUESTIONS // 2, len(absent))):
        sample.append(about_absent(name, len(sample), question, refusal))
    return present_paragraphs, sample


def about_paragraph(name: str, number: int, question: Question) -> Golden:
    """The evidence is the answer itself: a passage that was cut may lack it."""
    return Golden(
        id=f"{name}-{number}",
        question=question.text,
        expected=question.answers[0],
        alternatives=question.answers[1:],
        evidence=question.answers[0],
        topic=name,
        page=question_sets.uri_of(name, question.paragraph),
        kind="document",
        style=name,
        documents="unseen",
    )


def about_absent(name: str, number: int, question: Question, refusal: str) -> Golden:
    return Golden(
        id=f"{name}-{number}",
        question=question.text,
        expected=refusal,
        topic=name,
        page=None,
        kind="unanswerable",
        style=name,
    )


def index_and_retrieve(
    name: str,
    values: Params,
    paragraphs: dict[str, Paragraph],
    questions: list[Golden],
    candidate: Candidate,
) -> list[Case]:
    """In the current folder, which is a clone of its own."""
    question_sets.write_documents(name, paragraphs)
    question_sets.build(values)
    return reading.retrieve(candidate, questions, PUBLIC_SET)


def competitors(candidate: Candidate) -> dict[str, System]:
    """The systems of `evaluate` but the constant answer, and the candidate without its limits."""
    by_name = systems.select(candidate.model, "", None, candidate.encoder)
    del by_name[FREQUENT]
    by_name[NO_LIMITS] = replace(candidate.model, name=NO_LIMITS, limits=None)
    return by_name


def print_mistakes(rows: list[Row]) -> None:
    """The first answers that share no word with a right one."""
    mistakes = [row for row in rows if row["document_f1"] == 0.0 and not row["false_refusal"]]
    for row in mistakes[:NUM_SHOWN]:
        print(f"wrong: {row['question']}\n    {row['answer']}\n    right: {row['expected']}")


def print_table(rows: dict[str, list[Row]], bootstrap: Bootstrap) -> None:
    """A line for each metric: mean and 95 % interval of each system."""
    print(f"{'':22}" + "".join(f"{name:24}" for name in rows))
    for metric in SHOWN_METRICS:
        cells = []
        for system_rows in rows.values():
            interval = scoring.interval([row[metric] for row in system_rows], bootstrap)
            cells.append(show_interval(interval.value, interval.low, interval.high))
        print(f"{metric:22}" + "".join(f"{cell:24}" for cell in cells))


def show_interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return "-"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def mean(rows: Iterable[Row], metric: str) -> float:
    values = [row[metric] for row in rows if row[metric] is not None]
    return float(sum(values) / max(1, len(values)))
