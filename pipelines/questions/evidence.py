"""Whether the evidence of questions about documents stands in these documents, word for word."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from pipelines.questions.consistency import join
from pipelines.questions.document_questions import DocumentQuestion, Reading, contains, squeeze

MAX_CHARACTERS = 80  # of evidence in a message
MIN_SIMILAR_WORDS = 4  # in a row, from which a hint says where the evidence may be


def problems(reading: Reading, texts: Mapping[str, str]) -> list[str]:
    """A line for each question whose document no longer holds its evidence.

    `texts`: uri -> text of the documents; questions about others are left to mentions.py.
    """
    labels: dict[str, list[str]] = {}
    for question in _checkable(reading, texts):
        text = texts[question.page]
        if not contains(text, question.evidence or ""):
            problem = _explain(question, text)
            labels.setdefault(problem, []).append(reading.labels[question.id])
    return join(labels)


def count(reading: Reading, texts: Mapping[str, str]) -> int:
    """How many questions can be checked."""
    return len(_checkable(reading, texts))


def _checkable(reading: Reading, texts: Mapping[str, str]) -> Sequence[DocumentQuestion]:
    questions = [*reading.training, *reading.golden]
    return [item for item in questions if item.is_answerable and item.page in texts]


def _explain(question: DocumentQuestion, text: str) -> str:
    evidence = squeeze(question.evidence or "")
    hint = _nearest(evidence, squeeze(text))
    quote = f"; the nearest words there are {hint!r}" if hint else ""
    return (
        f"evidence: {evidence[:MAX_CHARACTERS]!r} is not in {question.page}{quote}: copy it again "
        "from the document, correct the answer, or remove the question"
    )


def _nearest(evidence: str, text: str) -> str:
    """The longest run of the evidence's words in the text; empty if it is short."""
    words = evidence.split()
    text_words = text.split()
    match = SequenceMatcher(None, words, text_words, autojunk=False).find_longest_match()
    if match.size < MIN_SIMILAR_WORDS:
        return ""
    return " ".join(text_words[match.b : match.b + match.size])[:MAX_CHARACTERS]
