from pathlib import Path

import pytest

from pipelines import files
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.decision import champions
from pipelines.errors import UserError

RELEASE = Champion(
    release_id="r-2",
    who="ada",
    why="first",
    when="2026-11-21T14:02:11+00:00",
    num_documents=3,
    candidate="c1",
    model_digest="d",
    folder="models/champion",
    model="generator/1/weights",
    prompt="generator/1/prompt.yaml",
    scores={"exact_match": 0.8},
)


def test_the_champion_is_the_release_with_the_files_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("champion.json")
    Path("models/champion").mkdir(parents=True)
    Path("models/champion/weights").write_text("good")
    digest = files.digest(Path("models/champion"))
    champion = RELEASE.model_copy(update={"model_digest": digest})
    files.write_json(path, ChampionFile(champion=champion))
    assert champions.read_verified(path) == champions.read(path) == champion
    Path("models/champion/weights").write_text("changed")
    with pytest.raises(
        UserError,
        match="models/champion is not the champion r-2 that champion.json names: "
        "`dvc checkout --force models/champion` brings it back",
    ):
        champions.read_verified(path)


def test_before_the_first_release_there_is_no_champion(tmp_path: Path) -> None:
    files.write_json(tmp_path / "champion.json", ChampionFile(champion=None))
    assert champions.read_verified(tmp_path / "champion.json") is None


def test_a_champion_whose_files_are_gone_is_an_error_and_never_no_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files.write_json(Path("champion.json"), ChampionFile(champion=RELEASE))
    with pytest.raises(
        UserError,
        match="the champion r-2 is released, but models/champion is not here: "
        "`dvc pull models/champion`",
    ):
        champions.read_verified(Path("champion.json"))


@pytest.mark.parametrize("text", ["", "{}", '{"champion": {"release_id": "r-1"}}'])
def test_a_missing_or_damaged_file_is_an_error_and_never_no_champion(
    tmp_path: Path, text: str
) -> None:
    if text:
        (tmp_path / "champion.json").write_text(text)
    with pytest.raises(UserError, match=r"champion\.json is (missing|not what this code reads)"):
        champions.read_verified(tmp_path / "champion.json")
