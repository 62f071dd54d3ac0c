"""`python -m pipelines review`: decide on thumbs-down and corrections. What is accepted becomes FAQ topics and golden questions.

Without --who: the list of what waits. With --who at a terminal: one question after the other. With --request and --decision: without
being asked. Every decision is a line of data/reviews.jsonl; data/faq/reviewed.yaml and data/golden/reviewed.jsonl are made from it.
"""

import sys
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pipelines import faq, files, golden, reviews
from pipelines.commands import traffic
from pipelines.config import params
from pipelines.config.params import Params
from pipelines.errors import UserError
from pipelines.monitoring import window as windows
from pipelines.reviews import Lesson, Review

REVIEWS, FAQ, GOLDEN = Path("data/reviews.jsonl"), Path("data/faq"), Path("data/golden")
MADE_FAQ, MADE_GOLDEN = FAQ / "reviewed.yaml", GOLDEN / "reviewed.jsonl"
DECISIONS: dict[str, Literal["accepted", "edited", "rejected"]] = {"accept": "accepted", "edit": "edited", "reject": "rejected"}
Row = dict[Any, Any]
MAX_ANSWER_CHARACTERS = 1000  # of an FAQ topic (pipelines/faq.py)
KEYS = {"a": "accept", "e": "edit", "r": "reject", "s": "skip", "q": "quit"}


def run(who: str | None, decision: str | None, request: list[str], answer: str | None, page: str | None, why: str) -> None:
    """List, ask, or decide; then make FAQ and golden questions anew from all reviews."""
    values = params.load()
    waiting = windows.complaints(traffic.TRAFFIC, {review.request_id for review in reviews.read(REVIEWS)}, traffic.now())
    if who is None or not who.strip():
        if decision or request:
            raise UserError("--who is missing: a review names its reviewer")
        _list(waiting)
        return
    if decision:
        for row in _chosen(waiting, request, decision):
            _decide(row, decision, who, answer, page, why)
    elif request:
        raise UserError("--request needs --decision accept, edit or reject")
    elif not sys.stdin.isatty():
        raise UserError("this is no terminal to ask at: give --request and --decision, or leave out --who for the list")
    else:
        _ask(waiting, who)
    write(values)


def _list(waiting: pd.DataFrame) -> None:
    for row in waiting.to_dict("records"):
        _show(row)
    print(f"\n{len(waiting)} wait. `python -m pipelines review --who YOU` goes through them")


def _show(row: Row) -> None:
    print(f"\n{row['request_id']}  {str(row['time'])[:19]}  from {row['who']}")
    for label, key in (("question", "question"), ("answer", "answer"), ("correction", "correction"), ("comment", "comment"), ("page", "page")):
        if isinstance(row[key], str):
            print(f"  {label:11}{_plain(str(row[key]))}")


def _plain(text: str) -> str:
    """Without control characters: what users wrote must not steer the reviewer's terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _chosen(waiting: pd.DataFrame, request: list[str], decision: str) -> list[Row]:
    rows: list[Row] = waiting.to_dict("records")
    by_id = {str(row["request_id"]): row for row in rows}
    if not request:
        raise UserError("--decision needs --request ID, or --request all")
    unknown = [name for name in request if name != "all" and name not in by_id]
    if unknown:
        raise UserError(f"--request {unknown[0]}: no feedback of that id waits for review; `python -m pipelines review` lists those that do")
    if "all" not in request:
        return [by_id[name] for name in dict.fromkeys(request)]
    able = [row for row in rows if decision != "accept" or isinstance(row["correction"], str)]
    if len(able) < len(rows):
        print(f"{len(rows) - len(able)} have a thumb down and no correction: they wait on, for --decision edit or reject")
    return able


def _decide(row: Row, decision: str, who: str, answer: str | None, page: str | None, why: str) -> None:
    """Append one review. Raises UserError where an accepted or edited question would have no answer or no page."""
    given = answer if decision == "edit" else row["correction"]
    support = page or row["page"]
    if decision != "reject" and not (isinstance(given, str) and given.strip()):
        raise UserError(f"{row['request_id']}: there is no correction to accept: --decision edit --answer TEXT gives one, --decision reject leaves the question out")
    if decision != "reject" and not isinstance(support, str):
        raise UserError(f"{row['request_id']}: no page was retrieved for it: --page URI names the document that supports the answer")
    if decision != "reject" and len(str(given).strip()) > MAX_ANSWER_CHARACTERS:
        raise UserError(f"{row['request_id']}: the answer has {len(str(given).strip())} characters, and the FAQ takes {MAX_ANSWER_CHARACTERS}: --decision edit --answer TEXT gives a shorter one")
    kept = decision != "reject"
    reviews.append(REVIEWS, Review(
        request_id=str(row["request_id"]), question=str(row["question"]), given=row["answer"] if isinstance(row["answer"], str) else None, decision=DECISIONS[decision],
        answer=str(given).strip() if kept else None, page=str(support) if kept else None, who=who, why=why, when=traffic.now().isoformat(timespec="seconds"),
    ))  # fmt: skip


def _ask(waiting: pd.DataFrame, who: str) -> None:
    for row in waiting.to_dict("records"):
        _show(row)
        chosen = KEYS.get(input("  [a]ccept the correction, [e]dit, [r]eject, [s]kip, [q]uit? ").strip().lower()[:1], "skip")
        if chosen == "quit":
            return
        if chosen == "skip":
            continue
        answer = input("  answer: ").strip() if chosen == "edit" else None
        page = None if chosen == "reject" else input(f"  page that supports it [{row['page']}]: ").strip() or None
        try:
            _decide(row, chosen, who, answer, page, "")
        except UserError as error:
            print(f"  not recorded: {error}")


def taught(values: Params) -> list[Lesson]:
    """What all reviews so far teach, beside the FAQ and golden questions that people wrote."""
    topics = [topic for topic in faq.load(FAQ) if not topic.topic.startswith(reviews.PREFIX)]
    questions = [item for item in golden.load(GOLDEN) if not item.topic.startswith(reviews.PREFIX)]
    taken = [*(question for topic in topics for question in topic.questions), *(item.question for item in questions)]
    limits = reviews.Limits(values.monitor.golden_share, values.examples.near_duplicate_similarity, values.examples.min_questions, values.examples.max_question_characters)
    return reviews.lessons(reviews.read(REVIEWS), limits, taken)


def write(values: Params) -> None:
    """Make both files anew from all reviews, and say what they hold."""
    made, found = reviews.read(REVIEWS), taught(values)
    files.write_text(MADE_FAQ, reviews.faq_text(found))
    files.write_text(MADE_GOLDEN, reviews.golden_text(found))
    for lesson in found:
        state = f"waits for {values.examples.min_questions} training questions" if lesson.held else "is taught"
        print(f"{lesson.topic}: {len(lesson.training)} training and {len(lesson.golden)} golden questions, {state}: {_plain(lesson.answer)[:80]}")
    used = sum(len(lesson.training) + len(lesson.golden) for lesson in found)
    kept = sum(review.decision != "rejected" for review in made)
    print(
        f"{len(made)} reviews, {kept} accepted or edited, {used} different questions teach; the others repeat one, or are worded as one that FAQ or golden set have: change those files by hand where their answer is wrong"
    )
    print(f"keep them: git add {REVIEWS} {MADE_FAQ} {MADE_GOLDEN} && git commit")
