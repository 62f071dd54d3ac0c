"""Reads the golden set: questions for evaluation that training never sees.

data/golden/*.jsonl holds the questions of the FAQ and those to be refused, data/qa/golden those
about documents (document_questions.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import demand_none
from pipelines.questions import document_questions
from pipelines.questions.document_questions import DocumentQuestion

DOCUMENTS = "documents"  # topic of every question about documents
FAQ_KINDS = ("faq", "out_of_scope", "hostile")


class Golden(BaseModel):
    """One question with its expected answer and the page that supports it.

    `topic`, `style` and `documents` are the slices by which it is scored. Questions that are out
    of scope or hostile expect a refusal and have no page; those that are unanswerable expect one
    although they look as if their page answered them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(min_length=1)
    question: str = Field(min_length=1, max_length=2000)
    expected: str = Field(min_length=1)
    topic: str = Field(min_length=1)
    page: str | None
    kind: Literal["faq", "out_of_scope", "hostile", "document", "unanswerable"]
    style: str = Field(min_length=1)
    alternatives: list[str] = []  # further right answers
    evidence: str | None = None  # of a question about a document: its verbatim words
    # Of a question about a document: whether training has questions about the same one.
    documents: Literal["seen", "unseen"] | None = None

    @property
    def expects_refusal(self) -> bool:
        return self.kind not in ("faq", "document")

    @property
    def answers(self) -> list[str]:
        """The right answers, the best first."""
        return [self.expected, *self.alternatives]


@dataclass(frozen=True)
class Reading:
    """What the files hold: the good questions, sorted by id, and what is wrong with the others."""

    questions: list[Golden]
    labels: dict[str, str]  # id -> its file and line, for messages
    problems: list[str]


def load_all(folder: Path, qa_folder: Path, refusal: str | None) -> list[Golden]:
    """Both sets, sorted by id. Raises UserError that lists every problem of every file.

    `refusal`: what an unanswerable question is to be answered with; None if the template shows no
    passages, so that no question about documents is asked.
    """
    questions = load(folder)
    if refusal is None:
        return questions
    questions = [_with_refusal(question, refusal) for question in questions]
    questions += about_documents(document_questions.load(qa_folder), refusal)
    return sorted(questions, key=lambda question: question.id)


def _with_refusal(question: Golden, refusal: str) -> Golden:
    """The FAQ words a refusal in its own way; the template's is as good."""
    if not question.expects_refusal:
        return question
    return question.model_copy(update={"alternatives": [*question.alternatives, refusal]})


def about_documents(reading: document_questions.Reading, refusal: str) -> list[Golden]:
    """The golden questions about documents."""
    pages = reading.training_pages
    return [_about_document(question, pages, refusal) for question in reading.golden]


def _about_document(question: DocumentQuestion, pages: set[str], refusal: str) -> Golden:
    return Golden(
        id=question.id,
        question=question.question,
        expected=question.answers[0] if question.is_answerable else refusal,
        topic=DOCUMENTS,
        page=question.page,
        kind="document" if question.is_answerable else "unanswerable",
        style=question.style,
        alternatives=question.answers[1:],
        evidence=question.evidence,
        documents="seen" if question.page in pages else "unseen",
    )


def load(folder: Path) -> list[Golden]:
    """All questions, sorted by id. Raises UserError that lists every problem of every file."""
    reading = read(folder)
    demand_none(reading.problems)
    return reading.questions


def read(folder: Path) -> Reading:
    """The same without raising. Each problem names file, line, key and remedy."""
    questions: dict[str, Golden] = {}
    labels: dict[str, str] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in _lines(path, problems):
            label = f"{path}:{number}"
            question = _question(line, label, problems)
            if question is None:
                continue
            if question.id in questions:
                problems.append(
                    f"{label}: id: {question.id!r} occurs twice: "
                    f"give each question an id of its own ({labels[question.id]} has it too)"
                )
                continue
            questions[question.id] = question
            labels[question.id] = label
    if not questions and not problems:
        problems.append(
            f"{folder} holds no golden questions (*.jsonl): without them no model can be judged"
        )
    return Reading([questions[name] for name in sorted(questions)], labels, problems)


def _question(line: str, label: str, problems: list[str]) -> Golden | None:
    """The line as a question; None, and its problems added, if it is none."""
    try:
        question = Golden.model_validate_json(line)
    except ValidationError as error:
        for problem in error.errors():
            key = ".".join(map(str, problem["loc"])) or "line"
            value = str(problem["input"])[:80]
            problems.append(f"{label}: {key}: {problem['msg']} (it is {value!r})")
        return None
    if question.kind not in FAQ_KINDS:
        problems.append(
            f"{label}: kind: {question.kind}: questions about documents belong into "
            f"{document_questions.FOLDER}/golden; kinds here are {', '.join(FAQ_KINDS)}"
        )
        return None
    if (question.page is None) != (question.kind != "faq"):
        problems.append(
            f"{label}: page: a question of kind faq names its supporting page; "
            "the other kinds have null"
        )
        return None
    return question


def _lines(path: Path, problems: list[str]) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, empty ones left out; what is not UTF-8 adds a problem.

    Lines end as JSON has it: `splitlines` would also cut a question that holds U+2028.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.removesuffix("\n")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: is not UTF-8 (byte {error.start}): save it as UTF-8")
