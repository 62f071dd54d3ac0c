"""Decide on thumbs-down and corrections: accepted ones become FAQ topics and golden questions.

Without --who it lists what waits. With --who at a terminal it goes through the list, one question
after the other. With --request and --decision it decides without asking. Every decision becomes a
line of data/reviews.jsonl, from which data/faq/reviewed.yaml and data/golden/reviewed.jsonl are
made.
"""

import argparse
import datetime
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.config import params
from pipelines.config.examples import ExamplesConfig
from pipelines.config.monitor import MonitorConfig
from pipelines.corpus import catalogue
from pipelines.errors import UserError
from pipelines.monitoring import complaints
from pipelines.monitoring.window import TRAFFIC
from pipelines.questions import lessons, reviews
from pipelines.questions.lessons import Lesson, Limits
from pipelines.questions.reviews import OUTCOMES, Complaint, Ruling

DOCUMENTS = Path("data/documents.parquet")
KEYS = {"a": "accept", "e": "edit", "r": "reject", "s": "skip", "q": "quit"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--who", help="who reviews; without it the waiting feedback is listed")
    parser.add_argument(
        "--decision", choices=list(OUTCOMES), help="decide on --request without being asked"
    )
    parser.add_argument(
        "--request",
        action="append",
        default=[],
        help="a request id, or `all`; may be given several times",
    )
    parser.add_argument("--answer", help="the answer that --decision edit gives")
    parser.add_argument(
        "--page",
        help="uri of the document that supports the answer (default: the page retrieved first)",
    )
    parser.add_argument("--why", default="", help="why, in a sentence")


def run(arguments: argparse.Namespace) -> None:
    """List, ask or decide; then write FAQ and golden questions from all reviews."""
    waiting = _waiting_complaints()
    who = arguments.who
    if who is None or not who.strip():
        if arguments.decision or arguments.request:
            raise UserError("--who is missing: a review names its reviewer")
        _print_list(waiting)
        return
    if arguments.decision:
        ruling = Ruling(arguments.decision, who, arguments.why, arguments.answer, arguments.page)
        for complaint in _choose(waiting, arguments.request, ruling):
            _append(complaint, ruling)
    elif arguments.request:
        raise UserError("--request needs --decision accept, edit or reject")
    elif not sys.stdin.isatty():
        raise UserError(
            "there is no terminal to ask at: give --request and --decision, "
            "or leave out --who to see the list"
        )
    else:
        _ask(waiting, who)
    _write_lessons()


def _append(complaint: Complaint, ruling: Ruling) -> None:
    """Put a ruling on record, without an answer that rests on what not everyone may read.

    Raises UserError if it is incomplete, or teaches such a thing: the record is in Git, and the
    model answers everybody.
    """
    restrictions = catalogue.restricted_pages(DOCUMENTS)
    pages = [page for page in complaint.pages if page in restrictions]
    review = reviews.review(replace(complaint, answer=None) if pages else complaint, ruling)
    has_own_page = ruling.decision == "edit" and ruling.page is not None
    if review.page is not None and review.page in restrictions:
        pages = [review.page]
    elif has_own_page or review.page is None:
        pages = []
    if pages:
        raise UserError(
            f"{complaint.request_id}: the page {pages[0]!r} {restrictions[pages[0]]}, with "
            "--decision edit --answer TEXT --page URI, or leave the question out with --decision "
            "reject"
        )
    reviews.append(review)


def _waiting_complaints() -> list[Complaint]:
    reviewed_ids = {review.request_id for review in reviews.read()}
    table = complaints.read(TRAFFIC, reviewed_ids, datetime.datetime.now(datetime.UTC))
    return [Complaint.from_row(row) for row in table.to_dict("records")]


def _print_list(waiting: Sequence[Complaint]) -> None:
    for complaint in waiting:
        _print_complaint(complaint)
    print(f"\n{len(waiting)} wait. `python -m pipelines review --who YOU` goes through them")


def _print_complaint(complaint: Complaint) -> None:
    print(f"\n{complaint.request_id}  {str(complaint.time)[:19]}  from {complaint.who}")
    texts = {
        "question": complaint.question,
        "answer": complaint.answer,
        "correction": complaint.correction,
        "comment": complaint.comment,
        "page": complaint.page,
    }
    for label, text in texts.items():
        if text is not None:
            print(f"  {label:11}{_printable(text)}")


def _printable(text: str) -> str:
    """Without control characters: what users wrote must not control the reviewer's terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _choose(waiting: Sequence[Complaint], requests: list[str], ruling: Ruling) -> list[Complaint]:
    """The complaints that --request names. Raises UserError if it names none, or an unknown one."""
    if not requests:
        raise UserError("--decision needs --request ID, or --request all")
    by_id = {complaint.request_id: complaint for complaint in waiting}
    for request in requests:
        if request != "all" and request not in by_id:
            raise UserError(
                f"--request {request}: no feedback with this id waits for review; "
                "`python -m pipelines review` lists what does"
            )
    if "all" in requests:
        return _all_decidable(waiting, ruling)
    return [by_id[request] for request in dict.fromkeys(requests)]


def _all_decidable(waiting: Sequence[Complaint], ruling: Ruling) -> list[Complaint]:
    """All complaints; for `accept`, those with a correction and a page that everyone may read."""
    if ruling.decision != "accept":
        return list(waiting)
    with_correction = [complaint for complaint in waiting if complaint.correction is not None]
    num_left = len(waiting) - len(with_correction)
    if num_left:
        print(
            f"{num_left} have a thumb down and no correction: "
            "they still wait, for --decision edit or reject"
        )
    restrictions = catalogue.restricted_pages(DOCUMENTS)
    decidable = [item for item in with_correction if restrictions.keys().isdisjoint(item.pages)]
    num_left = len(with_correction) - len(decidable)
    if num_left:
        print(
            f"{num_left} rest on a page that not everyone may read: they still wait, for "
            "--decision reject, or for edit with --page and one that everyone may read"
        )
    return decidable


def _ask(waiting: Sequence[Complaint], who: str) -> None:
    """Go through the complaints at the terminal, until the reviewer quits."""
    for complaint in waiting:
        _print_complaint(complaint)
        key = input("  [a]ccept the correction, [e]dit, [r]eject, [s]kip, [q]uit? ")
        choice = KEYS.get(key.strip().lower()[:1], "skip")
        if choice == "quit":
            return
        if choice == "skip":
            continue
        try:
            _append(complaint, _ask_ruling(complaint, choice, who))
        except UserError as error:
            print(f"  not recorded: {error}")


def _ask_ruling(complaint: Complaint, decision: str, who: str) -> Ruling:
    """The ruling, with the answer and page that it needs."""
    answer = None
    page = None
    if decision == "edit":
        answer = input("  answer: ").strip()
    if decision != "reject":
        page = input(f"  page that supports it [{complaint.page}]: ").strip() or None
    return Ruling(decision, who, answer=answer, page=page)


def _write_lessons() -> None:
    """Write both files from all reviews, and print what they hold."""
    values = params.load()
    limits = Limits.from_config(values.section(MonitorConfig), values.section(ExamplesConfig))
    taught = lessons.load(limits)
    lessons.write(taught)
    num_questions = 0
    for lesson in taught:
        num_questions += len(lesson.questions)
        print(_summary(lesson, limits))
    record = reviews.read()
    num_usable = sum(review.decision != "rejected" for review in record)
    print(
        f"{len(record)} reviews, {num_usable} accepted or edited, "
        f"{num_questions} different questions that teach. The others repeat one of these, or are "
        "worded like one of the FAQ or golden set: if the answer there is wrong, edit those files"
    )
    paths = f"{reviews.RECORD} {lessons.REVIEWED_FAQ} {lessons.REVIEWED_GOLDEN}"
    print(f"keep them: git add {paths} && git commit")


def _summary(lesson: Lesson, limits: Limits) -> str:
    state = "is taught"
    if lesson.is_waiting:
        state = f"waits for {limits.min_questions} training questions"
    return (
        f"{lesson.topic}: {len(lesson.training)} training and {len(lesson.golden)} golden "
        f"questions, {state}: {_printable(lesson.answer)[:80]}"
    )
