from pathlib import Path

import pytest

from pipelines import files, ledger
from pipelines.errors import UserError
from pipelines.ledger import Release

FIRST = Release(release_id="r-1", who="ada", why="first", when="2026-11-21T14:02:11+00:00", num_documents=3, candidate="c1", model_digest="m1", folder="models/champion", scores={"exact_match": 0.8})


def test_releases_are_appended_and_come_back_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "releases.jsonl"
    path.write_text("")
    assert ledger.read(path) == []
    assert ledger.champion(path) is None
    second = FIRST.model_copy(update={"release_id": "r-2"})
    ledger.append(path, FIRST)
    before = path.read_text()
    ledger.append(path, second)
    assert ledger.read(path) == [FIRST, second]
    assert path.read_text().startswith(before)


def test_a_reason_of_any_characters_stays_one_line(tmp_path: Path) -> None:
    path = tmp_path / "releases.jsonl"
    path.write_text("")
    odd = FIRST.model_copy(update={"why": "a\nb\u2028c\u0085d \x1e ä"})
    ledger.append(path, odd)
    ledger.append(path, FIRST)
    assert ledger.read(path) == [odd, FIRST]


def test_a_last_line_without_its_end_is_not_joined_with_the_next_release(tmp_path: Path) -> None:
    path = tmp_path / "releases.jsonl"
    path.write_text(FIRST.model_dump_json())
    ledger.append(path, FIRST)
    assert ledger.read(path) == [FIRST, FIRST]


@pytest.mark.parametrize("line", ["{", '{"release_id": "r-2"}', FIRST.model_dump_json()[:-1] + ', "more": 1}'])
def test_a_damaged_line_is_told_with_its_number_and_remedy(tmp_path: Path, line: str) -> None:
    path = tmp_path / "releases.jsonl"
    path.write_text(f"{FIRST.model_dump_json()}\n{line}\n")
    with pytest.raises(UserError) as caught:
        ledger.read(path)
    assert str(caught.value).startswith(f"{path}:2 is no release: ")
    assert str(caught.value).endswith(f"The ledger is only ever appended to: `git checkout {path}` brings it back")


def test_a_missing_ledger_is_an_error_and_never_no_releases(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="releases.jsonl is missing: `git checkout "):
        ledger.champion(tmp_path / "releases.jsonl")


def test_the_champion_is_the_last_release_with_the_files_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/champion").mkdir(parents=True)
    Path("models/champion/weights").write_text("good")
    champion = FIRST.model_copy(update={"release_id": "r-2", "model_digest": files.digest(Path("models/champion"))})
    Path("releases.jsonl").write_text(f"{FIRST.model_dump_json()}\n{champion.model_dump_json()}\n")
    assert ledger.champion(Path("releases.jsonl")) == champion
    Path("models/champion/weights").write_text("changed")
    with pytest.raises(UserError, match="models/champion is not the champion r-2 that releases.jsonl names: `dvc checkout --force models/champion` brings it back"):
        ledger.champion(Path("releases.jsonl"))


def test_a_champion_whose_files_are_gone_is_an_error_and_never_no_champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("releases.jsonl").write_text(f"{FIRST.model_dump_json()}\n")
    with pytest.raises(UserError, match="the champion r-1 is released, but models/champion is not here: `dvc pull models/champion`"):
        ledger.champion(Path("releases.jsonl"))
