from pathlib import Path

import pytest

from pipelines.drafting import acceptance, drafts
from pipelines.drafting.acceptance import Ruling
from pipelines.drafting.drafts import Decision, Draft
from pipelines.errors import UserError
from pipelines.questions import document_questions
from pipelines.questions.document_questions import DocumentQuestion


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def draft(question: str, page: str = "d/a") -> Draft:
    return Draft.make(
        question=question,
        page=page,
        answer="60 seconds",
        evidence="The server waits for 60 seconds.",
        chunk_id="c-1",
        passage="# Wait\n\nThe server waits for 60 seconds. Then it closes the connection.",
        teacher="t",
        rank=1,
    )


def accept(item: Draft) -> Decision:
    return acceptance.decide(item, Ruling("accept", "ada"))


def test_an_accepted_draft_becomes_a_question_about_its_document() -> None:
    item = draft("How long does the server wait?")
    assert accept(item).as_question() == DocumentQuestion(
        id=f"drafted.{item.id}",
        question="How long does the server wait?",
        answers=["60 seconds"],
        evidence="The server waits for 60 seconds.",
        page="d/a",
        style="drafted",
    )


def test_an_edited_answer_brings_the_sentence_that_it_stands_in() -> None:
    item = draft("What happens after 60 seconds?")
    decision = acceptance.decide(
        item, Ruling("edit", "ada", answer="closes the connection", question="And then?")
    )
    assert (decision.question, decision.decision) == ("And then?", "edited")
    assert decision.evidence == "Then it closes the connection."


def test_an_edited_answer_that_the_passage_does_not_hold_is_refused() -> None:
    with pytest.raises(UserError, match="copy it from there word for word"):
        acceptance.decide(draft("How long?"), Ruling("edit", "ada", answer="an hour"))


def test_a_document_is_on_one_side_with_all_its_questions() -> None:
    decisions = [
        accept(draft(f"How long does part {number} wait?", page=f"d/{number % 40}"))
        for number in range(200)
    ]
    sides = acceptance.split(decisions, {}, golden_share=0.25)
    training_pages = {question.page for question in sides["training"]}
    golden_pages = {question.page for question in sides["golden"]}
    assert training_pages & golden_pages == set()
    assert len(training_pages) + len(golden_pages) == 40
    assert 4 <= len(golden_pages) <= 17


def test_later_decisions_move_no_earlier_question() -> None:
    decisions = [accept(draft(f"Question number {n}?", page=f"d/{n}")) for n in range(60)]
    early = acceptance.split(decisions[:30], {}, golden_share=0.25)
    late = acceptance.split(decisions, {}, golden_share=0.25)
    for side in ("training", "golden"):
        assert {item.id for item in early[side]} <= {item.id for item in late[side]}


def test_a_document_that_people_wrote_about_stays_on_their_side() -> None:
    decisions = [accept(draft(f"Question number {n}?", page=f"d/{n}")) for n in range(20)]
    written = {f"d/{n}": "golden" for n in range(20)}
    sides = acceptance.split(decisions, written, golden_share=0.0)  # type: ignore[arg-type]
    assert (len(sides["training"]), len(sides["golden"])) == (0, 20)


def test_the_files_are_made_from_the_record_alone_and_the_last_decision_counts() -> None:
    first = draft("How long does the server wait?")
    second = draft("When is the connection closed?")
    drafts.append([first, second], [])
    for item in (first, second):
        drafts.decide(accept(item))
    assert drafts.waiting() == []
    acceptance.write(golden_share=0.0)
    reading = document_questions.load(Path("data/qa"))
    assert {item.question for item in reading.training} == {first.question, second.question}
    drafts.decide(acceptance.decide(first, Ruling("reject", "bob", "too easy")))
    assert acceptance.write(golden_share=0.0) == {"training": 1, "golden": 0}
    assert [item.who for item in drafts.read_decisions()] == ["ada", "ada", "bob"]


def test_a_changed_line_of_the_record_is_noticed() -> None:
    drafts.decide(accept(draft("How long does the server wait?")))
    text = drafts.DECISIONS.read_text()
    drafts.DECISIONS.write_text(text.replace("ada", "eve"))
    (problem,) = drafts.problems()
    assert "decisions.jsonl:1" in problem
