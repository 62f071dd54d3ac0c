from pathlib import Path

import pytest

from pipelines import champions, files
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.errors import UserError


def released(digest: str) -> Champion:
    return Champion(
        release_id="r-2", who="ada", why="first", when="2026-11-21T14:02:11+00:00", num_documents=3, candidate="c1", model_digest=digest, folder="models/champion",
        model="generator/1/weights", prompt="generator/1/prompt.yaml", scores={"exact_match": 0.8},
    )  # fmt: skip


def test_the_champion_is_the_release_with_the_files_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/champion").mkdir(parents=True)
    Path("models/champion/weights").write_text("good")
    champion = released(files.digest(Path("models/champion")))
    files.write_json(Path("champion.json"), ChampionFile(champion=champion))
    assert champions.verified(Path("champion.json")) == champions.read(Path("champion.json")) == champion
    Path("models/champion/weights").write_text("changed")
    with pytest.raises(UserError, match=r"models/champion is not the champion r-2 that champion.json names: `dvc checkout --force models/champion` brings it back"):
        champions.verified(Path("champion.json"))


def test_before_the_first_release_there_is_none(tmp_path: Path) -> None:
    files.write_json(tmp_path / "champion.json", ChampionFile(champion=None))
    assert champions.verified(tmp_path / "champion.json") is None


def test_a_champion_whose_files_are_gone_is_an_error_and_never_no_champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_json(Path("champion.json"), ChampionFile(champion=released("d")))
    with pytest.raises(UserError, match="the champion r-2 is released, but models/champion is not here: `dvc pull models/champion`"):
        champions.verified(Path("champion.json"))


@pytest.mark.parametrize("text", ["", "{}", '{"champion": {"release_id": "r-1"}}'])
def test_a_missing_or_damaged_file_is_an_error_and_never_no_champion(tmp_path: Path, text: str) -> None:
    if text:
        (tmp_path / "champion.json").write_text(text)
    with pytest.raises(UserError, match=r"champion\.json is (missing|not what this code reads)"):
        champions.verified(tmp_path / "champion.json")
