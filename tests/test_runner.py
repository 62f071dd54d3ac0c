import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.__main__ import bind, run_stage
from pipelines.errors import UserError

ROOT = Path(__file__).parents[1]


def test_bind_gives_a_stage_the_arguments_it_names_and_no_others() -> None:
    def run(config: int, documents: Path) -> None: ...

    available = {"config": 3, "documents": Path("data/documents.parquet"), "rejections": Path("data/rejections.parquet")}
    assert bind(run, available, "chunk") == {"config": 3, "documents": Path("data/documents.parquet")}


def test_bind_names_the_stage_the_missing_argument_and_what_there_is() -> None:
    def run(config: int, chunks: Path) -> None: ...

    with pytest.raises(UserError) as caught:
        bind(run, {"documents": Path("data/documents.parquet"), "config": 3}, "embed")
    assert str(caught.value) == "dvc.yaml: stage embed needs `chunks` among its deps, outs or params; it gives config, documents"


def test_a_stage_that_dvc_yaml_does_not_have_is_named_with_those_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages:\n  ingest: {cmd: python -m pipelines ingest}\n  chunk: {cmd: python -m pipelines chunk}\n")
    with pytest.raises(UserError, match="dvc.yaml has no stage `chnk`; its stages are ingest, chunk"):
        run_stage("chnk")


def test_a_reader_that_goes_away_ends_a_command_without_a_traceback() -> None:
    started = subprocess.Popen([sys.executable, "-m", "pipelines", "schema"], cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert started.stdout is not None
    started.stdout.close()
    _, said = started.communicate(timeout=60)
    assert (started.returncode, said) == (141, b"")


def test_an_error_on_a_disk_that_is_almost_full_says_so(small_disk: Callable[[int], Path]) -> None:
    small = small_disk(1024)
    told = subprocess.run([sys.executable, "-m", "pipelines", "check"], cwd=small, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert told.returncode == 1
    assert "the disk is almost full (1 MiB are left): if that is why, free some space; the same command continues" in told.stderr
