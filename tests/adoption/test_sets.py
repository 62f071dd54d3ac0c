import json
from pathlib import Path

import pytest

from pipelines.adoption import sets
from pipelines.adoption.sets import State

OWN = State(name="own", address="/docs", removed_floors={"hit_at_5": 0.6})


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample in use, and the set `own` prepared aside."""
    monkeypatch.chdir(tmp_path)
    for path in ("data/faq/a.yaml", "data/golden/a.jsonl", "data/qa/training/a.jsonl"):
        write(path, "sample")
    for path in ("data/aside/own/data/faq/b.yaml", "data/aside/own/data/golden/b.jsonl"):
        write(path, "own")
    write("params.yaml", "sample: 1\n")


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def content() -> dict[str, str]:
    """Every file below the folder with its text."""
    return {str(path): path.read_text() for path in sorted(Path().rglob("*")) if path.is_file()}


def test_a_switch_moves_every_file_and_loses_none() -> None:
    sets.switch(OWN, "own: 1\n")
    files = content()
    state = files.pop("data/aside/adoption.json")
    assert files == {
        "data/aside/sample/data/faq/a.yaml": "sample",
        "data/aside/sample/data/golden/a.jsonl": "sample",
        "data/aside/sample/data/qa/training/a.jsonl": "sample",
        "data/aside/sample/params.yaml": "sample: 1\n",
        "data/faq/b.yaml": "own",
        "data/golden/b.jsonl": "own",
        "params.yaml": "own: 1\n",
    }
    assert State.model_validate_json(state) == OWN


def test_switching_there_and_back_changes_nothing_but_the_note_of_the_state() -> None:
    before = content()
    sets.switch(OWN, "own: 1\n")
    sets.switch(State(name="sample", address=None), "sample: 1\n")
    after = content()
    assert json.loads(after.pop("data/aside/adoption.json"))["name"] == "sample"
    assert after.pop("data/aside/own/params.yaml") == "own: 1\n"
    assert after == before


def test_a_kill_before_any_rename_is_made_good_by_the_next_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rename = Path.rename
    num_kills = 0
    for number in range(40):
        calls = [0]

        def kill(path: Path, target: Path, limit: int = number, count: list[int] = calls) -> Path:
            count[0] += 1
            if count[0] > limit:
                raise KeyboardInterrupt
            return rename(path, target)

        old = sets.current().name
        new = OWN if old == "sample" else State(name="sample", address=None)
        monkeypatch.setattr(Path, "rename", kill)
        try:
            sets.switch(new, f"{new.name}: 1\n")
        except KeyboardInterrupt:
            num_kills += 1
        monkeypatch.setattr(Path, "rename", rename)
        sets.finish()
        if sets.current() != new:  # killed before anything was moved
            sets.switch(new, f"{new.name}: 1\n")
        texts = content()
        assert sorted(texts.values()).count("sample") == 3
        assert sorted(texts.values()).count("own") == 2
        assert texts["params.yaml"] == f"{new.name}: 1\n"
        own_file = Path("data/faq/b.yaml")
        assert own_file.exists() == (new.name == "own")
    assert num_kills > 10


def test_nothing_is_to_be_finished_where_nothing_was_begun() -> None:
    assert sets.finish() is None
    assert sets.current() == State(name="sample", address=None)
