import json
from pathlib import Path

import pytest

from pipelines import files
from pipelines.contracts.window import WINDOW
from pipelines.erasure import file_texts
from pipelines.erasure.subject import Subject
from pipelines.errors import UserError

PERSON = Subject.of("person", "Zoë Quartermain")


@pytest.mark.parametrize(
    "text",
    [
        "Zoë Quartermain",
        "zoë\n quartermain's desk",
        "ZOE\u0308 QUARTERMAIN",  # as two code points
        "Ｚｏë Quartermain",  # full width
        "(Zoë\u00a0Quartermain)",
    ],
)
def test_a_person_is_found_however_the_name_is_written(text: str) -> None:
    assert PERSON.is_in_text(text)


@pytest.mark.parametrize("text", ["Zoë Quartermaine", "Anzoë Quartermain", "Zoë, Quartermain"])
def test_another_name_is_not_the_persons(text: str) -> None:
    assert not PERSON.is_in_text(text)


@pytest.mark.parametrize(
    ("text", "is_meant"),
    [
        ("handbook/gate.md", True),
        ("See handbook/gate.md.", True),
        ("handbook/gate.md#floors", True),
        ("(handbook/gate.md)", True),
        ("old/handbook/gate.md", False),
        ("handbook/gate.md.bak", False),
        ("handbook/gate.mdx", False),
    ],
)
def test_a_document_is_found_by_its_whole_uri(text: str, is_meant: bool) -> None:
    assert Subject.of("document", "handbook/gate.md").is_in_text(text) is is_meant


def test_a_tenant_is_never_looked_for_in_texts() -> None:
    assert not Subject.of("tenant", "default").is_in_text("the default is 3")


@pytest.mark.parametrize("name", ["", " ", "ab", " a "])
def test_a_text_that_would_be_everywhere_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="at least 3 characters"):
        Subject.of("person", name)
    with pytest.raises(UserError, match="at least 3 characters"):
        Subject.of("tenant", " ")


@pytest.mark.parametrize(
    "text",
    [
        "<p>Zo&euml; <em>Quarter</em>main</p>",
        json.dumps({"a": [{"b": "by Zoë Quartermain"}]}),
        json.dumps({"n": 1}) + "\n" + json.dumps({"t": "Zoë Quartermain"}) + "\n",
        "name: Zoë\n  Quartermain\n",
    ],
)
def test_markup_escapes_and_line_ends_hide_nobody(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    assert file_texts.is_readable(path)
    assert file_texts.speaks_of(path, PERSON)
    path.write_text(text.replace("main", "man"))
    assert not file_texts.speaks_of(path, PERSON)


def test_rows_of_parquet_are_read_and_weights_are_not(tmp_path: Path) -> None:
    row = dict.fromkeys(WINDOW.names)
    row |= {"request_id": "q", "release_id": "r", "question": "x", "status": "ok"}
    path = tmp_path / "a.parquet"
    files.write(path, WINDOW, [row] * 3000 + [{**row, "correction": "Ask Zoë Quartermain."}])
    assert file_texts.is_readable(path)
    assert file_texts.speaks_of(path, PERSON)
    files.write(path, WINDOW, [row] * 3000)
    assert not file_texts.speaks_of(path, PERSON)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"\x08\0\0\0{}")
    assert not file_texts.is_readable(weights)
