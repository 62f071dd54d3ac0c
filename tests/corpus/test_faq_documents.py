from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config.ingest import FaqSource
from pipelines.corpus.sources import list_uris, read_source, source_problems
from pipelines.errors import UserError

SOURCE = FaqSource(kind="faq", name="faq")
GATE = {"topic": "gate", "page": "book/gate.md", "answer": "Read it.", "questions": ["why refused"]}
PREFIX = "params.yaml: ingest.sources: source faq: "


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/faq").mkdir(parents=True)


def write(name: str, topics: list[dict[str, Any]]) -> None:
    Path(f"data/faq/{name}.yaml").write_text(yaml.safe_dump(topics))


def test_each_topic_is_a_markdown_document_of_its_wordings_and_its_answer() -> None:
    write("a", [GATE | {"questions": ["why refused", "Why was it refused?", "tell me!"]}])
    (document,) = read_source(SOURCE, {}, 1000)
    assert (document.uri, document.title) == ("faq/gate", "why refused")
    assert (document.hint, document.page) == ("text/markdown", "book/gate.md")
    assert document.content.decode() == (
        "## why refused?\n\nWhy was it refused? tell me!\n\nAnswer: Read it."
    )


def test_topics_of_all_files_come_sorted_by_name_without_refusals() -> None:
    write("a", [GATE, GATE | {"topic": "weather", "refusal": True, "page": None}])
    write("b", [GATE | {"topic": "arrival"}])
    uris = [document.uri for document in read_source(SOURCE, {}, 1000)]
    assert uris == list(list_uris(SOURCE)) == ["faq/arrival", "faq/gate"]


def test_many_wordings_become_two_sections_of_six_and_the_rest_is_left_for_training() -> None:
    write("a", [GATE | {"questions": [f"wording {number}" for number in range(20)]}])
    (document,) = read_source(SOURCE, {}, 1000)
    text = document.content.decode()
    assert text.count("## ") == text.count("Answer: Read it.") == 2
    assert "## wording 0?" in text
    assert "## wording 6?" in text
    assert "wording 11?" in text
    assert "wording 12" not in text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- {", "data/faq/a.yaml: is not valid YAML: "),
        ("topic: gate", "data/faq/a.yaml: is not a list of topics: `python -m pipelines check`"),
        (
            "- {topic: gate, questions: [why]}",
            "data/faq/a.yaml: topic gate: lacks topic, answer or questions: `python -m",
        ),
        ("- {answer: a}", "data/faq/a.yaml: topic without a name: lacks topic, answer or"),
        (
            "- {topic: gate, answer: a, questions: []}",
            "data/faq/a.yaml: topic gate: has no questions: `python -m pipelines check`",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_remedy(content: str, problem: str) -> None:
    Path("data/faq/a.yaml").write_text(content)
    with pytest.raises(UserError) as caught:
        list(read_source(SOURCE, {}, 1000))
    assert str(caught.value).startswith(f"{PREFIX}{problem}")


def test_an_faq_without_topics_that_answer_is_no_source() -> None:
    write("a", [GATE | {"refusal": True, "page": None}])
    assert source_problems([SOURCE]) == [
        f"{PREFIX}data/faq holds no topic: write one (handbook: faq-authoring), "
        "or remove the source"
    ]
