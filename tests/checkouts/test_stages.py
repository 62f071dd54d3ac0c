"""A stage whose outputs DVC cannot keep, with the real DVC and a cache on a disk that is too small."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.checkouts import stages
from pipelines.errors import Unreachable

ROOT = Path(__file__).parents[2]
STAGE = """
stages:
  one:
    cmd: mkdir -p made && for n in 1 2 3 4 5; do head -c 150000 /dev/zero | tr '\\0' $n > made/$n; done
    outs: [made]
"""


@pytest.fixture
def cramped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_disk: Callable[[int], Path]) -> Path:
    """A repository whose DVC cache has room for half of what its one stage makes."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    cache = small_disk(400)
    for command in (["git", "init", "--quiet", "."], [sys.executable, "-m", "dvc", "init", "--quiet"], [sys.executable, "-m", "dvc", "config", "cache.dir", str(cache / "cache")]):
        subprocess.run(command, check=True)
    Path("dvc.yaml").write_text(STAGE)
    return cache


def test_an_output_that_dvc_could_not_keep_is_no_success(cramped: Path) -> None:
    with pytest.raises(Unreachable, match=r"DVC could not keep every output of one \(its errors are above\): free some space"):
        stages._reproduce(Path.cwd(), "one", pull=False)
    subprocess.run(["mount", "-o", "remount,size=4000k", str(cramped)], check=True)
    assert stages._reproduce(Path.cwd(), "one", pull=False)
    assert not stages._reproduce(Path.cwd(), "one", pull=False)


def test_make_run_ends_with_an_error_where_dvc_could_not_keep_an_output_and_makes_it_again(cramped: Path) -> None:
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    command, environment = [sys.executable, "-m", "pipelines", "run"], {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert first.returncode == 1
    assert "DVC could not keep every result (its errors are above), and would make these again:\none:\n\tchanged outs:\n\t\tnot in cache:       made" in first.stderr
    assert "STOPPED" in first.stdout
    subprocess.run(["mount", "-o", "remount,size=4000k", str(cramped)], check=True)
    second, third = (subprocess.run(command, capture_output=True, text=True, env=environment) for _ in range(2))
    assert (second.returncode, third.returncode) == (0, 0)
    assert "Running stage 'one'" in second.stdout
    assert "nothing changed" in third.stdout
