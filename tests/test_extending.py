"""The handbook's page about new stages, followed to the letter in a copy of this repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import files
from pipelines.contracts.documents import DOCUMENTS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "data/raw/handbook/extending.md"
BLOCK = re.compile(r"```(?:yaml|python)\n# (\S+)( \(append\))?\n(.*?)```", re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The code and the parameters of this repository, and no data."""
    for name in ("pipelines", "infra", "tests"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    for name in ("dvc.yaml", "params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_stage_of_the_page_is_added_bound_run_and_tested(copy: Path) -> None:
    for path, append, content in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        with (copy / path).open("a" if append else "x", encoding="utf-8") as file:
            file.write(content)

    run(copy, "pipelines", "deps", "--write")
    assert "pipelines/contracts/lengths.py" in (copy / "dvc.yaml").read_text()
    assert run(copy, "pipelines", "deps") == "dvc.yaml lists the code of every stage\n"
    assert "bucket_characters" in run(copy, "pipelines", "schema")

    files.write(copy / "data/documents.parquet", DOCUMENTS, [])
    run(copy, "pipelines", "lengths")
    assert (copy / "data/reports/lengths.json").exists()
    run(copy, "pytest", "-q", "-p", "no:cacheprovider", "tests/stages/test_lengths.py")
