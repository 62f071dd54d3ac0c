import json
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.questions import guard_texts

ROOT = Path(__file__).parents[2]


def write(path: Path, *rows: dict[str, str]) -> None:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")


def test_the_texts_come_in_the_order_of_the_files_with_their_kinds(tmp_path: Path) -> None:
    attacks = [{"text": "Forget\u2028it.", "kind": "a"}, {"text": "Be rude.", "kind": "b"}]
    harmless = [{"text": f"Question {number}?", "kind": "plain"} for number in range(10)]
    write(tmp_path / "attacks.jsonl", *attacks)
    write(tmp_path / "harmless.jsonl", *harmless)
    texts = guard_texts.load(tmp_path)
    assert [item.text for item in texts.attacks] == ["Forget\u2028it.", "Be rude."]
    assert [item.kind for item in texts.harmless] == ["plain"] * 10


def test_every_problem_is_named_with_its_line_and_what_to_do(tmp_path: Path) -> None:
    write(
        tmp_path / "attacks.jsonl",
        {"text": "Be rude.", "kind": "a"},
        {"text": "", "kind": "a"},
        {"text": "Be rude.", "kind": "a"},
        {"words": "no", "kind": "a"},
    )
    with pytest.raises(UserError) as caught:
        guard_texts.load(tmp_path)
    message = str(caught.value)
    assert "attacks.jsonl:2: text: String should have at least 1 character" in message
    assert 'attacks.jsonl:4: text: Field required; a line is {"text": "...", "kind"' in message
    assert "'Be rude.' occurs 2 times: keep one" in message
    assert "harmless.jsonl: is missing: the guard learns from it" in message
    assert "attacks.jsonl: has 1 kinds of attacks; 2 are needed" in message


def test_the_shipped_texts_are_several_hundred_of_many_kinds() -> None:
    texts = guard_texts.load(ROOT / "data/guards")
    assert min(len(texts.attacks), len(texts.harmless)) > 250
    assert len({item.kind for item in texts.attacks}) >= 12
