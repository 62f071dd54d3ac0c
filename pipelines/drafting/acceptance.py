"""Turns accepted drafts into training and golden questions about documents.

Both files (data/qa/training/drafted.jsonl, data/qa/golden/drafted.jsonl) are made from the record
of decisions alone. A document is on one side with all its questions, decided by the digest of its
uri, so that the golden ones tell how well documents are read that training never saw. A document
that people wrote questions about stays on the side where these are.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipelines import files
from pipelines.drafting import drafts, proposals
from pipelines.drafting.drafts import Decision, Draft, Outcome
from pipelines.errors import UserError
from pipelines.questions import document_questions
from pipelines.questions.document_questions import DocumentQuestion, Split, contains

NAME = "drafted.jsonl"
OUTCOMES: dict[str, Outcome] = {"accept": "accepted", "edit": "edited", "reject": "rejected"}
DIGEST_DIGITS = 8  # of a digest, as a number from 0 to 1


@dataclass(frozen=True)
class Ruling:
    """What a reviewer decides; texts are read by `edit` alone, None: as drafted."""

    decision: str  # a key of OUTCOMES
    who: str
    why: str = ""
    question: str | None = None
    answer: str | None = None


def decide(draft: Draft, ruling: Ruling) -> Decision:
    """The ruling as a line of the record. Raises UserError if question and answer do not fit."""
    is_edit = ruling.decision == "edit"
    question = (ruling.question if is_edit else None) or draft.question
    answer = (ruling.answer if is_edit else None) or draft.answer
    decision = Decision(
        id=draft.id,
        decision=OUTCOMES[ruling.decision],
        question=question,
        answer=answer,
        evidence=_evidence(draft, answer),
        page=draft.page,
        who=ruling.who,
        why=ruling.why,
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    try:
        decision.as_question()
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"{draft.id}: {message}") from error
    return decision


def _evidence(draft: Draft, answer: str | None) -> str | None:
    """The drafted evidence, or the sentence of the passage in which an edited answer stands."""
    if answer is None:
        return None
    if draft.evidence is not None and contains(draft.evidence, answer):
        return draft.evidence
    evidence = proposals.evidence(draft.passage, answer)
    if evidence is None:
        raise UserError(
            f"{draft.id}: the answer {answer[:80]!r} does not stand in the passage of the draft: "
            "copy it from there word for word, or reject the draft"
        )
    return evidence


def split(
    decisions: Sequence[Decision], written: dict[str, Split], golden_share: float
) -> dict[Split, list[DocumentQuestion]]:
    """The questions of both sides; of several decisions on a draft the last counts.

    `written`: documents that people wrote questions about, and the side on which these are.
    """
    latest = {decision.id: decision for decision in decisions}
    sides: dict[Split, list[DocumentQuestion]] = {"training": [], "golden": []}
    for decision in sorted(latest.values(), key=lambda item: item.id):
        if decision.decision == "rejected":
            continue
        side = written.get(decision.page) or _side_by_digest(decision.page, golden_share)
        sides[side].append(decision.as_question())
    return sides


def write(golden_share: float, folder: Path = document_questions.FOLDER) -> dict[Split, int]:
    """Write both files anew; returns the number of questions by side."""
    sides = split(drafts.read_decisions(), _written_pages(folder), golden_share)
    counts: dict[Split, int] = {}
    for side, questions in sides.items():
        lines = [document_questions.to_line(question) for question in questions]
        files.write_text(folder / side / NAME, "".join(lines))
        counts[side] = len(questions)
    return counts


def _written_pages(folder: Path) -> dict[str, Split]:
    """Documents that people wrote questions about; training wins if they are on both sides."""
    reading = document_questions.load(folder)
    pages: dict[str, Split] = {}
    for side in ("golden", "training"):
        for question in reading.questions[side]:
            if not question.id.startswith(f"{drafts.STYLE}."):
                pages[question.page] = side
    return pages


def _side_by_digest(page: str, golden_share: float) -> Split:
    position = int(files.text_digest(page)[:DIGEST_DIGITS], 16) / 16**DIGEST_DIGITS
    return "golden" if position < golden_share else "training"
