import argparse
import datetime
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.commands import review
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.errors import UserError
from pipelines.questions import faq, golden, reviews
from pipelines.questions.faq import Topic
from tests.corpus.test_catalogue import document

ROOT = Path(__file__).parents[2]
SLOTS = [
    "Monday",
    "Tuesday",
    "Friday",
    "tonight",
    "tomorrow morning",
    "the afternoon",
    "next week",
    "the weekend",
    "the demo day",
    "two hours",
    "my team",
    "the interns",
    "a night run",
    "the lab",
    "a long job",
    "noon",
]
WITHOUT_CORRECTION = 16  # numbers of requests
WITHOUT_PAGE = 17


@pytest.fixture
def feedback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace with 18 complaints: 17 corrections and, as q16, a thumb down alone.

    Nothing was retrieved for the last one, q17.
    """
    shutil.copytree(ROOT / "data/faq", tmp_path / "data/faq")
    shutil.copytree(ROOT / "data/golden", tmp_path / "data/golden")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    questions = [f"How do I reserve the GPU machine for {slot}?" for slot in SLOTS]
    questions += ["gpu \x1b[31m red?", "no gpu page"]
    now = datetime.datetime.now(datetime.UTC)
    request_rows = [request_row(n, text, now) for n, text in enumerate(questions)]
    feedback_rows = [feedback_row(n, now) for n in range(len(questions))]
    files.write(Path("data/traffic/requests/a.parquet"), REQUESTS, request_rows)
    files.write(Path("data/traffic/feedback/a.parquet"), FEEDBACK, feedback_rows)


def request_row(number: int, question: str, time: datetime.datetime) -> dict[str, Any]:
    passage = {"chunk_id": "c", "uri": "handbook/setup.md", "score": 1.0}
    return dict.fromkeys(REQUESTS.names) | {
        "request_id": f"q{number}",
        "time": time,
        "release_id": "r-1",
        "tenant": "t",
        "position": 0.5,
        "question": question,
        "retrieved": [] if number == WITHOUT_PAGE else [passage],
        "answer": "Run it.",
        "status": "ok",
        "refused": False,
        "guard_flags": [],
        "num_prompt_tokens": 1,
        "num_new_tokens": 1,
        "total_ms": 1.0,
        "cost": 0.0,
    }


def feedback_row(number: int, time: datetime.datetime) -> dict[str, Any]:
    return {
        "request_id": f"q{number}",
        "time": time,
        "who": "user",
        "thumb": -1,
        "correction": None if number == WITHOUT_CORRECTION else "Book it in the calendar.",
        "comment": None,
    }


def run(*words: str) -> None:
    """Run the command with these words of its command line."""
    parser = argparse.ArgumentParser()
    review.add_arguments(parser)
    review.run(parser.parse_args(words))


def reviewed_topics() -> list[Topic]:
    return [topic for topic in faq.load(Path("data/faq")) if topic.topic.startswith("reviewed.")]


@pytest.mark.usefixtures("feedback")
def test_without_a_name_the_waiting_feedback_is_listed_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run()
    listing = capsys.readouterr().out
    assert "18 wait." in listing
    assert "correction Book it in the calendar." in listing
    assert "\x1b" not in listing
    assert not Path("data/reviews.jsonl").exists()


@pytest.mark.usefixtures("feedback")
def test_accepted_corrections_become_training_and_golden_questions_that_are_never_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [f"--request=q{number}" for number in range(16)]
    run("--who", "ada", "--decision", "accept", *options)
    (topic,) = reviewed_topics()
    golden_questions = set()
    for item in golden.load(Path("data/golden")):
        if item.style == "reviewed":
            golden_questions.add(item.question)
    assert (topic.answer, topic.page) == ("Book it in the calendar.", "handbook/setup.md")
    assert 10 <= len(topic.questions) <= 15
    assert golden_questions
    assert golden_questions & set(topic.questions) == set()
    command = "git add data/reviews.jsonl data/faq/reviewed.yaml data/golden/reviewed.jsonl"
    assert command in capsys.readouterr().out


@pytest.mark.usefixtures("feedback")
def test_reviewed_feedback_waits_no_longer_and_rejected_questions_teach_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("--who", "ada", "--decision", "reject", "--request", "all", "--why", "jokes")
    assert reviewed_topics() == []
    assert {item.decision for item in reviews.read()} == {"rejected"}
    run()
    assert "0 wait." in capsys.readouterr().out


@pytest.mark.usefixtures("feedback")
def test_accepting_all_leaves_feedback_without_a_correction_waiting_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run("--who", "ada", "--decision", "accept", "--request", "all", "--page", "handbook/gpu.md")
    assert "1 have a thumb down and no correction" in capsys.readouterr().out
    reviewed_ids = {item.request_id for item in reviews.read()}
    assert reviewed_ids == {f"q{number}" for number in range(18)} - {"q16"}


@pytest.mark.usefixtures("feedback")
def test_what_not_everyone_may_read_teaches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The page that was retrieved first is for hr alone."""
    row = document("handbook/setup.md", [], ["hr"])
    files.write(review.DOCUMENTS, DOCUMENTS, [row, document("handbook/gate.md", [])])
    accept = ["--who", "ada", "--decision", "accept", "--request"]
    with pytest.raises(UserError, match=r"'handbook/setup.md' may be read by hr alone"):
        run(*accept, "q0")
    assert reviews.read() == []
    with pytest.raises(UserError, match=r"'handbook/setup.md' may be read by hr alone"):
        run(*accept, "q0", "--page", "handbook/gate.md")
    edit = ["--who", "ada", "--decision", "edit", "--answer", "Ask the desk.", "--request"]
    with pytest.raises(UserError, match=r"'handbook/setup.md' may be read by hr alone"):
        run(*edit, "q0")
    run(*edit, "q0", "--page", "handbook/gate.md")
    with pytest.raises(UserError, match="q17: no page was retrieved"):
        run(*accept, "all")
    assert "rest on a page that not everyone may read" in capsys.readouterr().out
    assert {item.request_id for item in reviews.read()} == {"q0"}
    run("--who", "ada", "--decision", "reject", "--request", "q1")
    assert [item.page for item in reviews.read()] == ["handbook/gate.md", None]
    assert [item.given for item in reviews.read()] == [None, None]


@pytest.mark.usefixtures("feedback")
def test_a_reviewer_may_give_another_answer_and_page_than_the_user() -> None:
    edit = ["--who", "ada", "--decision", "edit", "--request", "q16"]
    run(*edit, "--answer", "Ask the desk.", "--page", "handbook/gate.md")
    (item,) = reviews.read()
    assert (item.decision, item.answer) == ("edited", "Ask the desk.")
    assert (item.page, item.who, item.given) == ("handbook/gate.md", "ada", "Run it.")


@pytest.mark.usefixtures("feedback")
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            "--who ada --decision accept --request q16",
            "q16: there is no correction to accept",
        ),
        (
            "--who ada --decision accept --request q17",
            "q17: no page was retrieved for it: name the document that supports the answer",
        ),
        (
            "--who ada --decision accept --request q99",
            "--request q99: no feedback with this id waits",
        ),
        ("--who ada --decision accept", "--decision needs --request ID"),
        (
            "--who= --decision accept --request all",
            "--who is missing: a review names its reviewer",
        ),
        ("--who ada --request all", "--request needs --decision"),
        ("--who ada", "there is no terminal to ask at"),
    ],
)
def test_an_incomplete_review_is_not_recorded_and_its_remedy_is_named(
    options: str, problem: str
) -> None:
    with pytest.raises(UserError) as caught:
        run(*options.split())
    assert problem in str(caught.value)
    assert not Path("data/reviews.jsonl").exists()


@pytest.mark.usefixtures("feedback")
def test_a_reviewer_at_a_terminal_is_asked_one_question_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed_lines = iter(["a", "", "e", "Ask the desk.", "handbook/gate.md", "r", "s", "q"])
    monkeypatch.setattr("builtins.input", lambda _: next(typed_lines))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    run("--who", "ada")
    accepted_item, edited_item, rejected_item = reviews.read()
    assert accepted_item.decision == "accepted"
    assert accepted_item.answer == "Book it in the calendar."
    assert accepted_item.page == "handbook/setup.md"
    assert edited_item.decision == "edited"
    assert edited_item.answer == "Ask the desk."
    assert edited_item.page == "handbook/gate.md"
    assert rejected_item.decision == "rejected"
    assert (rejected_item.answer, rejected_item.page) == (None, None)
