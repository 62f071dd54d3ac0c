"""The HTML page of the drafts: question, answer, and the evidence marked in its passage."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pipelines.drafting.drafts import Decision, Draft
from pipelines.pages import render


class MarkedPassage(NamedTuple):
    """A passage around its evidence; all of it is `before` if there is none."""

    before: str
    evidence: str
    after: str


class Entry(NamedTuple):
    """A draft as the page shows it."""

    draft: Draft
    passage: MarkedPassage
    decision: Decision | None


def render_drafts(drafts: Sequence[Draft], decisions: Sequence[Decision]) -> str:
    """The page; drafts that wait come first, the newest of them at the top."""
    latest = {decision.id: decision for decision in decisions}
    entries: list[Entry] = []
    for draft in reversed(drafts):
        passage = mark(draft.passage, draft.evidence)
        entries.append(Entry(draft, passage, latest.get(draft.id)))
    entries.sort(key=lambda entry: entry.decision is not None)
    num_waiting = sum(entry.decision is None for entry in entries)
    return render("drafts.html.j2", entries=entries, num_waiting=num_waiting)


def mark(passage: str, evidence: str | None) -> MarkedPassage:
    """The passage in three parts; white space and letter case of the evidence do not count."""
    words = r"\s+".join(re.escape(word) for word in (evidence or "").split())
    match = re.search(words, passage, re.IGNORECASE) if words else None
    if match is None:
        return MarkedPassage(passage, "", "")
    return MarkedPassage(passage[: match.start()], match[0], passage[match.end() :])
