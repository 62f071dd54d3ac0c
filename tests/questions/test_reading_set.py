from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.questions import document_questions, reading_set
from pipelines.questions.document_questions import DocumentQuestion
from pipelines.questions.reading_examples import Source
from pipelines.questions.reading_set import Hit

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / reading_set.FOLDER


def question(name: str, page: str, answer: str | None, evidence: str | None) -> DocumentQuestion:
    answers = [] if answer is None else [answer]
    return DocumentQuestion(
        id=name,
        question=f"What of {name}?",
        answers=answers,
        evidence=evidence,
        page=page,
        style="s",
    )


def hit(uri: str, text: str) -> Hit:
    return Hit(Source(uri, text, ""), f"Title of {uri}", 0.5)


def test_a_set_is_read_as_it_was_written_and_each_passage_is_kept_once(tmp_path: Path) -> None:
    writer = reading_set.Writer()
    hits = [hit("d/a", "It waits 60 s."), hit("d/b", "It is red.")]
    writer.add("training", question("t", "d/a", "60 s", "It waits 60 s."), hits)
    writer.add("golden", question("g", "d/b", "red", "It is red."), hits)
    writer.add("golden", question("u", "d/a", None, None), hits[:1])
    counts = writer.write(tmp_path / "reading")
    assert counts == {"passages.jsonl": 2, "training.jsonl": 1, "golden.jsonl": 2}
    reading = reading_set.load(tmp_path / "reading")
    assert [passage.text for passage in reading.of(reading.training[0])] == [
        "It waits 60 s.",
        "It is red.",
    ]
    seen, unanswerable = sorted(reading.exam("I cannot."), key=lambda item: item.kind)[::-1]
    assert (seen.kind, unanswerable.kind) == ("unanswerable", "document")
    by_id = {item.id: item for item in reading.exam("I cannot.")}
    assert by_id["reading.g"].documents == "unseen"
    assert by_id["reading.u"].documents == "seen"
    assert by_id["reading.u"].expected == "I cannot."
    assert {item.page for item in by_id.values()} == {None}


def test_examples_find_the_passages_of_their_own_question_alone(tmp_path: Path) -> None:
    writer = reading_set.Writer()
    first = [hit("d/a", "It waits 60 s.")]
    second = [hit("d/b", "It is red.")]
    writer.add("training", question("t", "d/a", "60 s", "It waits 60 s."), first)
    writer.add("training", question("v", "d/b", "red", "It is red."), second)
    writer.write(tmp_path / "reading")
    reading = reading_set.load(tmp_path / "reading").reading("I cannot.")
    assert reading.retrieve("What of t?") == [
        Source("d/a", "It waits 60 s.", "Title of d/a: It waits 60 s.")
    ]
    assert [source.uri for source in reading.retrieve("What of v?")] == ["d/b"]


def test_a_number_without_passage_and_a_missing_file_are_told_with_their_remedy(
    tmp_path: Path,
) -> None:
    writer = reading_set.Writer()
    writer.add("training", question("t", "d/a", "60 s", "It waits 60 s."), [hit("d/a", "Else.")])
    writer.write(tmp_path)
    (problem,) = reading_set.problems(tmp_path)
    assert "t: no passage holds its evidence" in problem
    (tmp_path / "passages.jsonl").write_text("")
    with pytest.raises(UserError, match="git checkout"):
        reading_set.load(tmp_path)
    (tmp_path / "golden.jsonl").unlink()
    (problem,) = reading_set.problems(tmp_path)
    assert "golden.jsonl is missing" in problem


def test_the_shipped_set_is_sound_and_no_golden_document_is_shown_in_training() -> None:
    assert reading_set.problems(SHIPPED) == []
    reading = reading_set.load(SHIPPED)
    assert len(reading.training) >= 200
    assert len(reading.golden) >= 100
    unseen_pages = {question.page for question in reading.golden}
    unseen_pages -= {question.page for question in reading.training}
    faq_pages = {"handbook/"}
    shown_pages: set[str] = set()
    for item in reading.training:
        shown_pages |= {passage.uri for passage in reading.of(item)}
    leaks = {page for page in unseen_pages & shown_pages if not page.startswith(tuple(faq_pages))}
    assert leaks == set()


def test_the_shipped_set_holds_the_questions_of_the_sample() -> None:
    sample = document_questions.load(ROOT / "data/qa")
    reading = reading_set.load(SHIPPED)
    for split in document_questions.SPLITS:
        own = [item for item in sample.questions[split] if item.page.startswith("handbook/")]
        copies = reading.training if split == "training" else reading.golden
        assert {item.id for item in copies} == {item.id for item in own}


def test_the_shipped_set_holds_texts_of_this_repository_alone() -> None:
    reading = reading_set.load(SHIPPED)
    sources = {passage.uri.partition("/")[0] for passage in reading.passages.values()}
    assert sources == {"handbook", "faq"}
