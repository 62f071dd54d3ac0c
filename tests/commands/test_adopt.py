"""`adopt` on a copy of what people write in this repository, with documents of somebody else."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipelines import files
from pipelines.adoption import params_text, presets, sets
from pipelines.commands import adopt, check
from pipelines.config import params
from pipelines.config.examples import ExamplesConfig
from pipelines.config.gate import GateConfig
from pipelines.config.ingest import IngestConfig
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]
FILES = ("params.yaml", "dvc.yaml", "data/overrides.yaml", "models/champion.json")
FOLDERS = (
    *("data/faq", "data/golden", "data/guards", "data/qa", "data/prompts", "data/scenarios"),
    *("data/raw/handbook", "infra/requirements", "infra/presets"),
)
QUESTION = (
    '{"id": "m-1", "question": "How long does chapter 3 wait?", "answers": ["3 minutes"], '
    '"evidence": "Chapter 3 waits 3 minutes.", "page": "manual/3.md", "style": "plain"}\n'
)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Git repository with the sample, which is the current folder."""
    folder = tmp_path / "clone"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name)
    (folder / "models").mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """A folder with twelve documents and a picture."""
    folder = tmp_path / "manual"
    folder.mkdir()
    for number in range(12):
        text = f"# Chapter {number}\n\nChapter {number} waits {number} minutes. " + "Words. " * 20
        (folder / f"{number}.md").write_text(text)
    (folder / "logo.png").write_bytes(b"\x89PNG")
    return folder


def tree() -> dict[str, str]:
    """Digest of every file of the clone that Git would track."""
    names = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return {name: files.digest(Path(name)) for name in names if not name.startswith(".state")}


def test_a_folder_takes_the_place_of_the_sample_and_back_restores_every_byte(
    clone: Path, manual: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree()
    adopt.run(str(manual), None, back=False)
    output = capsys.readouterr().out
    assert "adopted: 12 documents as the source manual" in output
    assert "left out, since no reader takes them: 1 .png" in output
    (source,) = params.load().section(IngestConfig).sources
    assert (source.kind, source.name) == ("files", "manual")
    assert sorted(path.name for path in Path("data/faq").iterdir()) == ["refusals.yaml"]
    check.run()
    assert "manual is adopted, the sample is aside" in capsys.readouterr().out
    adopt.run(None, None, back=True)
    shutil.rmtree("data/raw/manual")
    shutil.rmtree("data/aside")
    assert tree() == before


def test_floors_that_nothing_measures_go_and_come_back_with_the_first_golden_question(
    clone: Path, manual: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adopt.run(str(manual), None, back=False)
    removed_floors = sets.current().removed_floors
    floor = removed_floors["hit_at_5"]
    assert f"gate.floors.hit_at_5: {floor} -> removed" in capsys.readouterr().out
    assert "hit_at_5" not in params.load().section(GateConfig).floors
    Path("data/qa/golden/own.jsonl").write_text(QUESTION)
    adopt.run(str(manual), None, back=False)
    assert f"gate.floors.hit_at_5: {floor} is back" in capsys.readouterr().out
    assert params.load().section(GateConfig).floors["hit_at_5"] == floor
    assert "hit_at_5" not in sets.current().removed_floors


def test_the_same_folder_again_brings_its_present_content_and_keeps_the_questions(
    clone: Path, manual: Path
) -> None:
    adopt.run(str(manual), None, back=False)
    Path("data/qa/training/own.jsonl").write_text(QUESTION)
    (manual / "12.md").write_text("# Chapter 12\n\n" + "New words here. " * 20)
    (manual / "0.md").unlink()
    adopt.run(str(manual), None, back=False)
    names = {path.name for path in Path("data/raw/manual").iterdir()}
    assert "12.md" in names
    assert "0.md" not in names
    assert Path("data/qa/training/own.jsonl").read_text() == QUESTION


def test_what_was_written_for_own_documents_waits_aside_for_them(clone: Path, manual: Path) -> None:
    adopt.run(str(manual), None, back=False)
    Path("data/qa/training/own.jsonl").write_text(QUESTION)
    adopt.run(None, None, back=True)
    assert not Path("data/qa/training/own.jsonl").exists()
    adopt.run(str(manual), None, back=False)
    assert Path("data/qa/training/own.jsonl").read_text() == QUESTION


def test_other_values_that_were_changed_meanwhile_survive_the_way_back(
    clone: Path, manual: Path
) -> None:
    adopt.run(str(manual), None, back=False)
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("max_pages: 2000", "max_pages: 1234"))
    adopt.run(None, None, back=True)
    shipped = (ROOT / "params.yaml").read_text()
    assert Path("params.yaml").read_text() == shipped.replace("max_pages: 2000", "max_pages: 1234")


def test_a_repository_is_fetched_and_becomes_a_source_of_kind_git(
    clone: Path, manual: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "m"]):
        subprocess.run(["git", "-C", str(manual), *identity, *command], check=True)
    adopt.run(f"file://{manual}", "wiki", back=False)
    assert "12 documents fetched" in capsys.readouterr().out
    (source,) = params.load().section(IngestConfig).sources
    assert (source.kind, source.name) == ("git", "wiki")
    assert Path("data/raw/fetched/wiki.parquet").exists()


def test_a_folder_with_other_documents_under_the_same_name_is_not_overwritten(
    clone: Path, manual: Path
) -> None:
    before = tree()
    Path("data/raw/manual").mkdir()
    Path("data/raw/manual/precious.md").write_text("x")
    with pytest.raises(UserError, match="precious.md: give your documents another name"):
        adopt.run(str(manual), None, back=False)
    shutil.rmtree("data/raw/manual")
    assert tree() == before


def test_a_model_that_reads_takes_the_place_of_one_that_knows_the_faq_by_heart(
    clone: Path, manual: Path
) -> None:
    text = Path("params.yaml").read_text()
    changes = presets.changes(text, "made")
    for key, value in changes.items():
        text = params_text.replace_value(text, key, value)
    Path("params.yaml").write_text(text)
    adopt.run(str(manual), None, back=False)
    examples = params.load().section(ExamplesConfig)
    assert (examples.template, examples.use_reading_set) == ("grounded-chat-v1", True)
    adopt.run(None, None, back=True)
    assert Path("params.yaml").read_text() == text


def test_an_interrupted_switch_is_told_by_check_and_finished_by_adopt(
    clone: Path, manual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt.run(str(manual), None, back=False)
    rename = Path.rename

    def kill(path: Path, target: Path) -> Path:
        if path == Path("data/golden"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", kill)
    with pytest.raises(KeyboardInterrupt):
        adopt.run(None, None, back=True)
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(UserError, match="an adoption was interrupted"):
        check.run()
    adopt.run(None, None, back=True)
    assert sets.current().name == "sample"
    assert len(yaml.safe_load(Path("data/faq/refusals.yaml").read_text())) == 2
