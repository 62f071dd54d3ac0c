import datetime
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines import faq, files, golden, reviews
from pipelines.commands import review
from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]
NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
OPTIONS: dict[str, Any] = {"who": "ada", "decision": "accept", "request": ["all"], "answer": None, "page": None, "why": ""}
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


@pytest.fixture
def feedback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with 16 corrected questions, one with a thumb alone, and one that nothing was retrieved for."""
    for name in ("data/faq", "data/golden", "params.yaml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    rows, said = [], []
    for number, question in enumerate([*(f"How do I reserve the GPU machine for {slot}?" for slot in SLOTS), "gpu \x1b[31m red?", "no gpu page"]):
        passages = [{"chunk_id": "c", "uri": "handbook/setup.md", "score": 1.0}] if question != "no gpu page" else []
        row = dict.fromkeys(REQUESTS.names) | {
            "request_id": f"q{number}",
            "time": NOW,
            "release_id": "r-1",
            "tenant": "t",
            "question": question,
            "retrieved": passages,
            "answer": "Run it.",
            "status": "ok",
        }
        rows.append(row | {"refused": False, "guard_flags": [], "num_prompt_tokens": 1, "num_new_tokens": 1, "total_ms": 1.0, "cost": 0.0})
        said.append({"request_id": f"q{number}", "time": NOW, "who": "user", "thumb": -1, "correction": None if number == 16 else "Book it in the calendar.", "comment": None})
    files.write(Path("data/traffic/requests/a.parquet"), REQUESTS, rows)
    files.write(Path("data/traffic/feedback/a.parquet"), FEEDBACK, said)
    return tmp_path


def test_without_a_name_what_waits_is_listed_and_nothing_is_written(feedback: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review.run(**OPTIONS | {"who": None, "decision": None, "request": []})
    shown = capsys.readouterr().out
    assert "18 wait." in shown
    assert "correction Book it in the calendar." in shown
    assert "\x1b" not in shown
    assert not Path("data/reviews.jsonl").exists()


def test_accepted_corrections_become_training_and_golden_questions_that_are_never_the_same(feedback: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review.run(**OPTIONS | {"request": [f"q{number}" for number in range(16)]})
    (topic,) = [topic for topic in faq.load(Path("data/faq")) if topic.topic.startswith("reviewed.")]
    exam = [item for item in golden.load(Path("data/golden")) if item.style == "reviewed"]
    assert (topic.answer, topic.page) == ("Book it in the calendar.", "handbook/setup.md")
    assert 10 <= len(topic.questions) <= 15
    assert exam
    assert {item.question for item in exam} & set(topic.questions) == set()
    assert "git add data/reviews.jsonl data/faq/reviewed.yaml data/golden/reviewed.jsonl" in capsys.readouterr().out


def test_what_was_reviewed_waits_no_longer_and_rejected_questions_teach_nothing(feedback: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review.run(**OPTIONS | {"decision": "reject", "why": "jokes"})
    assert [topic.topic for topic in faq.load(Path("data/faq")) if topic.topic.startswith("reviewed.")] == []
    assert {made.decision for made in reviews.read(Path("data/reviews.jsonl"))} == {"rejected"}
    review.run(**OPTIONS | {"who": None, "decision": None, "request": []})
    assert "0 wait." in capsys.readouterr().out


def test_accepting_all_leaves_what_has_no_correction_waiting_and_says_so(feedback: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review.run(**OPTIONS | {"page": "handbook/gpu.md"})
    assert "1 have a thumb down and no correction" in capsys.readouterr().out
    assert {made.request_id for made in reviews.read(Path("data/reviews.jsonl"))} == {f"q{number}" for number in range(18) if number != 16}


def test_a_reviewer_may_answer_otherwise_than_the_user_did(feedback: Path) -> None:
    review.run(**OPTIONS | {"decision": "edit", "answer": "Ask the desk.", "page": "handbook/gate.md", "request": ["q16"]})
    (made,) = reviews.read(Path("data/reviews.jsonl"))
    assert (made.decision, made.answer, made.page, made.who, made.given) == ("edited", "Ask the desk.", "handbook/gate.md", "ada", "Run it.")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"request": ["q16"]}, "q16: there is no correction to accept"),
        ({"request": ["q17"]}, "q17: no page was retrieved for it: --page URI names the document"),
        ({"request": ["q99"]}, "--request q99: no feedback of that id waits"),
        ({"request": []}, "--decision needs --request ID"),
        ({"who": " "}, "--who is missing: a review names its reviewer"),
        ({"decision": None}, "--request needs --decision"),
        ({"decision": None, "request": []}, "this is no terminal to ask at"),
    ],
)
def test_what_cannot_be_recorded_is_told_with_its_remedy(feedback: Path, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        review.run(**OPTIONS | changed)
    assert told in str(caught.value)
    assert not Path("data/reviews.jsonl").exists()


def test_a_reviewer_at_a_terminal_is_asked_one_question_after_the_other(feedback: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter(["a", "", "e", "Ask the desk.", "handbook/gate.md", "r", "s", "q"])
    monkeypatch.setattr("builtins.input", lambda _: next(given))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    review.run(**OPTIONS | {"decision": None, "request": []})
    assert [(made.decision, made.answer, made.page) for made in reviews.read(Path("data/reviews.jsonl"))] == [
        ("accepted", "Book it in the calendar.", "handbook/setup.md"), ("edited", "Ask the desk.", "handbook/gate.md"), ("rejected", None, None),
    ]  # fmt: skip
