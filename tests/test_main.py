"""The command line: `python -m pipelines`."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.__main__ import execute

ROOT = Path(__file__).parents[1]


def test_a_misspelt_stage_is_answered_with_the_one_that_was_probably_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages:\n  chunk: {cmd: python -m pipelines chunk}\n")

    assert execute(["chnk"]) == 2
    expected = "there is no stage or command `chnk`: did you mean `chunk`?\n"
    assert capsys.readouterr().err == expected


def test_help_lists_every_stage_and_command_with_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert execute(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("ingest", "export", "search", "release", "monitor"):
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert len(line.split(maxsplit=1)[1]) > 10


def test_every_command_explains_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines import commands

    for name in commands.names():
        with pytest.raises(SystemExit) as caught:
            execute([name, "--help"])
        assert caught.value.code == 0
        assert f"usage: python -m pipelines {name}" in capsys.readouterr().out


def test_a_reader_that_goes_away_ends_a_command_without_a_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "schema"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (141, b"")


def test_an_error_on_a_disk_that_is_almost_full_says_so(
    small_disk: Callable[[int], Path],
) -> None:
    folder = small_disk(1024)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "check"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    hint = "the disk is almost full (1 MiB are left): if that is why, free some space; "
    assert hint + "the same command continues" in done.stderr
