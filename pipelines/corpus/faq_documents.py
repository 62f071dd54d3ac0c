"""Makes a document of each FAQ topic, so that its answer is retrieved like any other passage.

A topic becomes sections of several wordings with the answer below, each about a passage long: a
question worded in another way is nearer to one of them than to the page that the answer stands on.
Refusals are left out, since they answer no question.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipelines.config.ingest import FaqSource
from pipelines.corpus.problems import source_error

FOLDER = Path("data/faq")  # which dvc.yaml lists for ingest
WORDINGS_A_SECTION = 6  # with the answer about 100 tokens
NUM_SECTIONS = 2  # more find the topic more surely, and push other passages of its page away
REMEDY = "`python -m pipelines check` lists what is wrong with the FAQ"


class FaqDocument(NamedTuple):
    """One topic as Markdown."""

    topic: str
    title: str  # its first question
    text: str
    page: str | None  # uri of the document that its answer stands in


def read_topics(source: FaqSource) -> Iterator[FaqDocument]:
    """The topics of all files that answer questions, sorted by name. Raises UserError."""
    documents: dict[str, FaqDocument] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for entry in _entries(path, source):
            if not entry.get("refusal", False):
                document = _document(path, entry, source)
                documents[document.topic] = document
    for topic in sorted(documents):
        yield documents[topic]


def require_topics(source: FaqSource) -> None:
    """Raises UserError if there is none."""
    if next(read_topics(source), None) is None:
        raise source_error(
            source.name,
            f"{FOLDER} holds no topic: write one (handbook: faq-authoring), or remove the source",
        )


def _entries(path: Path, source: FaqSource) -> list[dict[str, Any]]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise source_error(source.name, f"{path}: is not valid YAML: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise source_error(source.name, f"{path}: is not a list of topics: {REMEDY}")
    return entries


def _document(path: Path, entry: dict[str, Any], source: FaqSource) -> FaqDocument:
    try:
        topic = str(entry["topic"])
        answer = str(entry["answer"]).strip()
        questions = [str(question).strip() for question in entry["questions"]]
    except (KeyError, TypeError) as error:
        name = entry.get("topic", "without a name")
        raise source_error(
            source.name, f"{path}: topic {name}: lacks topic, answer or questions: {REMEDY}"
        ) from error
    if not questions:
        raise source_error(source.name, f"{path}: topic {topic}: has no questions: {REMEDY}")
    wordings = questions[: WORDINGS_A_SECTION * NUM_SECTIONS]
    sections: list[str] = []
    for start in range(0, len(wordings), WORDINGS_A_SECTION):
        sections.append(_section(wordings[start : start + WORDINGS_A_SECTION], answer))
    return FaqDocument(topic, questions[0], "\n\n".join(sections), entry.get("page"))


def _section(wordings: Sequence[str], answer: str) -> str:
    heading, *others = [_as_question(wording) for wording in wordings]
    return f"## {heading}\n\n{' '.join(others)}\n\nAnswer: {answer}"


def _as_question(wording: str) -> str:
    return wording if wording[-1:] in {"?", ".", "!"} else f"{wording}?"
