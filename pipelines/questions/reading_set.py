"""Reads the reading set (data/qa/reading): the sample's questions, each with its own passages.

They teach and examine reading where nobody has written questions about the documents yet. Each
carries what retrieval found for it in the sample's documents, so that these need not be in the
index that users search. `python -m pipelines reading` writes the files.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines import files
from pipelines.errors import UserError
from pipelines.questions.document_questions import DocumentQuestion, Split, contains
from pipelines.questions.golden import Golden
from pipelines.questions.reading_examples import Reading, Source
from pipelines.runtime import rendering

FOLDER = Path("data/qa/reading")
PASSAGES = "passages.jsonl"
TOPIC = "reading"  # of its golden questions, which no served index could be asked
REMEDY = f"`git checkout {FOLDER}` restores it"
Item = TypeVar("Item", bound=BaseModel)


class Hit(NamedTuple):
    """A passage that retrieval found for a question."""

    source: Source
    title: str
    similarity: float  # cosine with the question


class ReadingPassage(BaseModel):
    """A passage of the sample's documents."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    number: int = Field(ge=0)
    uri: str = Field(min_length=1)
    title: str
    text: str = Field(min_length=1)


class ReadingQuestion(DocumentQuestion):
    """A question with the numbers of its passages, best first, and their cosines with it."""

    passages: list[int] = Field(min_length=1)
    similarities: list[float]

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if len(self.passages) != len(self.similarities):
            raise ValueError("passages and similarities must be of the same length")
        return self


@dataclass(frozen=True)
class ReadingSet:
    """Both splits and their passages by number."""

    training: list[ReadingQuestion]
    golden: list[ReadingQuestion]
    passages: dict[int, ReadingPassage]

    def of(self, question: ReadingQuestion) -> list[ReadingPassage]:
        """The passages of a question, best first."""
        return [self.passages[number] for number in question.passages]

    def reading(self, refusal: str) -> Reading:
        """What training examples are made from; each question finds its own passages."""
        sources: dict[str, list[Source]] = {}
        evidence: dict[str, list[Source]] = {}
        for question in self.training:
            sources[question.question] = [_source(passage) for passage in self.of(question)]
            for source in sources[question.question]:
                evidence.setdefault(source.uri, []).append(source)
        return Reading(
            questions=self.training,
            evidence=evidence,
            hidden_pages=(),
            refusal=refusal,
            retrieve=lambda question: sources[question],
        )

    def exam(self, refusal: str) -> list[Golden]:
        """Its golden questions. They name no page, since none is among the documents."""
        training_pages = {question.page for question in self.training}
        questions: list[Golden] = []
        for question in self.golden:
            is_seen = question.page in training_pages
            questions.append(
                Golden(
                    id=f"{TOPIC}.{question.id}",
                    question=question.question,
                    expected=question.answers[0] if question.is_answerable else refusal,
                    topic=TOPIC,
                    page=None,
                    kind="document" if question.is_answerable else "unanswerable",
                    style=question.style,
                    alternatives=question.answers[1:],
                    evidence=question.evidence,
                    documents="seen" if is_seen else "unseen",
                )
            )
        return questions


def load(folder: Path = FOLDER) -> ReadingSet:
    """The whole set. Raises UserError that names file and line."""
    passages: dict[int, ReadingPassage] = {}
    for passage in _read(folder / PASSAGES, ReadingPassage):
        passages[passage.number] = passage
    training = _read(folder / "training.jsonl", ReadingQuestion)
    golden = _read(folder / "golden.jsonl", ReadingQuestion)
    for question in (*training, *golden):
        unknown_numbers = sorted(set(question.passages) - set(passages))
        if unknown_numbers:
            raise UserError(
                f"{folder}: {question.id}: passages: {unknown_numbers} are not in {PASSAGES}: "
                f"{REMEDY}"
            )
    return ReadingSet(training, golden, passages)


def problems(folder: Path = FOLDER) -> list[str]:
    """What is wrong with the set: it cannot be read, or training lacks its evidence."""
    try:
        reading = load(folder)
    except UserError as error:
        return [str(error)]
    lines: list[str] = []
    for question in reading.training:
        texts = [passage.text for passage in reading.of(question)]
        if question.is_answerable and not any(_answers(text, question) for text in texts):
            lines.append(
                f"{folder}: {question.id}: no passage holds its evidence or its answer: "
                "`python -m pipelines reading` writes the set anew"
            )
    return lines


class Writer:
    """Collects questions with their passages, each passage once, and writes the files."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._passages: list[ReadingPassage] = []
        self._questions: dict[Split, list[ReadingQuestion]] = {"training": [], "golden": []}

    def add(self, split: Split, question: DocumentQuestion, hits: Sequence[Hit]) -> None:
        """`hits`: best first."""
        numbers = [self._number(hit.source, hit.title) for hit in hits]
        self._questions[split].append(
            ReadingQuestion(
                **question.model_dump(),
                passages=numbers,
                similarities=[round(hit.similarity, 4) for hit in hits],
            )
        )

    def _number(self, source: Source, title: str) -> int:
        key = (source.uri, source.text)
        if key not in self._numbers:
            number = len(self._passages)
            self._numbers[key] = number
            self._passages.append(
                ReadingPassage(number=number, uri=source.uri, title=title, text=source.text)
            )
        return self._numbers[key]

    def write(self, folder: Path = FOLDER) -> dict[str, int]:
        """Replace the whole folder; returns the number of lines by file."""
        counts: dict[str, int] = {}
        with files.replacing(folder) as target:
            target.mkdir()
            counts[PASSAGES] = _write(target / PASSAGES, self._passages)
            for split, questions in self._questions.items():
                name = f"{split}.jsonl"
                counts[name] = _write(target / name, questions)
        return counts


def _source(passage: ReadingPassage) -> Source:
    shown = rendering.shown_text(passage.title, passage.text)
    return Source(passage.uri, passage.text, shown)


def _answers(text: str, question: ReadingQuestion) -> bool:
    return contains(text, question.evidence or "") or contains(text, question.answers[0])


def _write(path: Path, items: Iterable[BaseModel]) -> int:
    lines = [json.dumps(item.model_dump(), ensure_ascii=False) + "\n" for item in items]
    path.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def _read(path: Path, model: type[Item]) -> list[Item]:
    if not path.exists():
        raise UserError(f"{path} is missing: {REMEDY}")
    items: list[Item] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append(model.model_validate_json(line))
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(map(str, problem["loc"])) or "line"
            raise UserError(f"{path}:{number}: {key}: {problem['msg']}: {REMEDY}") from error
    return items
