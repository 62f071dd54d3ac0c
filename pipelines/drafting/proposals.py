"""What a teacher is asked for a passage, and what it proposed: questions with answers."""

import re
from typing import NamedTuple

from pipelines.questions.document_questions import MAX_EVIDENCE_CHARACTERS, squeeze
from pipelines.runtime.rendering import Messages

PAIR = re.compile(r"Question:\s*(?P<question>.+?)\s*\n+\s*Answer:\s*(?P<answer>[^\n]+)")
QUESTION = re.compile(r"(?:Question:)?\s*(?P<question>[^\n]*\?)")
# The end of a sentence or paragraph, or the line before a list item, a table row or a heading.
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n|\n(?=[-*|#])")
MAX_NEW_TOKENS = 120  # of a question with its answer
ANSWERABLE = (
    "You write questions about a passage of a manual, as its readers would ask them without having "
    "seen it. Name the subject in the question. Copy the answer word for word from the passage, as "
    "briefly as possible. Write `Question: ...` and below it `Answer: ...`."
)
UNANSWERABLE = (
    "You write a question about the subject of a passage that the passage does NOT answer: a "
    "neighbouring fact that a reader may look for there and not find. Write `Question: ...` alone."
)
# Shown to the teacher as if it had written them: small models follow examples, not orders.
EXAMPLE_PASSAGE = (
    "Backup: The nightly backup starts at 02:30 and keeps 14 copies. If the disk is full, the "
    "oldest copy is removed first. Restore a copy with `vault restore NAME`."
)
EXAMPLE_PAIRS = (
    "Question: How many copies does the nightly backup keep?\nAnswer: 14 copies\n"
    "Question: Which copy of the backup is removed if the disk is full?\n"
    "Answer: the oldest copy is removed first"
)
EXAMPLE_UNANSWERABLE = "Question: How long does restoring a copy of the backup take?"


class Proposal(NamedTuple):
    """A question and its answer; None: the passage is not to answer it."""

    question: str
    answer: str | None


def prompt(passage: str, num_questions: int, *, is_answerable: bool) -> Messages:
    """The messages that ask for proposals about a passage."""
    if is_answerable:
        system = f"{ANSWERABLE} Write {num_questions} of them."
        example = "\n".join(EXAMPLE_PAIRS.split("\n")[: 2 * num_questions])
    else:
        system = UNANSWERABLE
        example = EXAMPLE_UNANSWERABLE
    user = (
        f"For example, about this passage:\n{EXAMPLE_PASSAGE}\n\n{example}\n\n"
        f"Now about this passage:\n{passage}"
    )
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def parse(text: str, num_questions: int, *, is_answerable: bool) -> list[Proposal]:
    """The proposals that the teacher wrote, at most so many."""
    if not is_answerable:
        match = QUESTION.search(text)
        return [Proposal(squeeze(match["question"]), None)] if match else []
    proposals: list[Proposal] = []
    for match in PAIR.finditer(text):
        question = squeeze(match["question"])
        answer = squeeze(match["answer"]).strip("\"'")
        proposals.append(Proposal(question, answer))
    return proposals[:num_questions]


def evidence(passage: str, answer: str) -> str | None:
    """The sentence of the passage that the answer stands in, word for word; None: in none.

    Sentences that it reaches across are joined; letter case and white space do not count.
    """
    text = squeeze_keeping_breaks(passage)
    words = r"\s+".join(re.escape(word) for word in answer.split())
    match = re.search(words, text, re.IGNORECASE) if words else None
    if match is None:
        return None
    start = 0
    end = len(text)
    for boundary in SENTENCE_END.finditer(text):
        if boundary.end() <= match.start():
            start = boundary.end()
        elif boundary.start() >= match.end():
            end = boundary.start()
            break
    sentence = text[start:end].strip()
    return sentence if len(sentence) <= MAX_EVIDENCE_CHARACTERS else match[0]


def squeeze_keeping_breaks(text: str) -> str:
    """The text without trailing spaces in its lines."""
    return "\n".join(line.rstrip() for line in text.split("\n"))
