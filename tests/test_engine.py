"""Where documents are worked on: here, or on a Ray cluster with two nodes on this machine. The outputs are the same."""

import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.engine import EngineConfig
from pipelines.config.ingest import FilesSource
from pipelines.contracts.report import Check, Report
from pipelines.engine import LOCAL, Work, Worker, work
from pipelines.errors import Unreachable, UserError
from pipelines.stages import chunk, embed, ingest, redact

ROOT = Path(__file__).parents[1]
RAY = EngineConfig(kind="ray")


def failing() -> Work:
    raise AssertionError("nothing is to be made")


def test_the_local_engine_gives_the_result_of_every_input_and_calls_with_no_more_than_asked_for() -> None:
    sizes: list[int] = []

    def make() -> Work:
        def increased(some: list[int]) -> list[int]:
            sizes.append(len(some))
            return [number + 1 for number in some]

        return increased

    assert list(work(LOCAL, make, range(5), 2)) == [1, 2, 3, 4, 5]
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("engine", [LOCAL, RAY])
def test_without_an_input_nothing_is_made_or_started(engine: EngineConfig) -> None:
    assert list(work(engine, failing, [], 4)) == []


def test_where_ray_is_not_installed_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None if name == "ray" else found(name, package))
    with pytest.raises(UserError, match=r"engine\.kind: ray needs the package ray, which is not installed: `make setup` installs it"):
        list(work(RAY, failing, [1], 1))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster: a head that does no work and two nodes with one CPU each, whose address is in RAY_ADDRESS."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            made.add_node(num_cpus=1)
        monkeypatch.setenv("RAY_ADDRESS", made.address)
        yield made
    finally:
        made.shutdown()


def stages(values: params.Params, engine: EngineConfig) -> tuple[dict[str, str], dict[str, Any]]:
    """Run ingest to embed on data/raw/book in the current folder; the digests of what they made, and their counts."""
    source = FilesSource(kind="files", name="book", path="data/raw/book", globs=["**/*"])
    config = values.ingest.model_copy(update={"sources": [source], "max_rejected_share": 0.5})
    made = {name: Path(f"data/{name}.parquet") for name in ("converted", "rejections", "documents", "chunks", "vectors")}
    reports = {name: Path(f"{name}.json") for name in ("ingestion", "redaction", "validation", "embedding")}
    Path("lock.txt").write_text("")
    files.write_json(reports["validation"], Report.of([Check(name="any", passed=True, observed="", expected="")]))
    ingest.run(config, Path("data/raw"), Path("lock.txt"), made["converted"], made["rejections"], reports["ingestion"], engine)
    redact.run(values.redact, made["converted"], made["documents"], reports["redaction"], engine)
    chunk.run(values.chunk, values.encoder, made["documents"], reports["validation"], made["chunks"], engine)
    embed.run(values.embed, values.encoder, made["chunks"], made["vectors"], reports["embedding"], engine)
    counts = {name: json.loads(reports[name].read_text()) for name in ("ingestion", "redaction", "embedding")}
    del counts["embedding"]["seconds"]
    return {name: files.digest(path) for name, path in made.items()}, counts


def recording(seen: Path) -> type[Worker]:
    """A worker that leaves its work's name and its node's in the folder `seen`, and does no more than its first list before the other node has one: else a quick node could do all."""

    class Recording(Worker):
        def __init__(self, make: Any):
            super().__init__(make)
            self._name = make.func.__name__

        def __call__(self, block: pa.Table) -> pa.Table:
            import ray

            (seen / f"{self._name} {ray.get_runtime_context().get_node_id()}").touch()
            deadline = time.monotonic() + 120
            while len(list(seen.glob(f"{self._name} *"))) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            return super().__call__(block)

    return Recording


@pytest.mark.slow
def test_a_cluster_of_two_nodes_gives_the_digests_of_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Any) -> None:
    """Both nodes take part in each of the four kinds of work, which is cut into small lists for that."""
    values = params.load(ROOT / "params.yaml")
    found = {}
    (tmp_path / "seen").mkdir()
    monkeypatch.setattr("pipelines.engine.Worker", recording(tmp_path / "seen"))
    for name in ("corpus.intake.TASKS_A_CALL", "stages.redact.DOCUMENTS_A_CALL", "stages.chunk.DOCUMENTS_A_CALL", "stages.embed.BATCHES_A_CALL"):
        monkeypatch.setattr(f"pipelines.{name}", 3)
    for engine in (LOCAL, RAY):
        folder = tmp_path / engine.kind
        shutil.copytree(ROOT / "data/raw/handbook", folder / "data/raw/book", ignore=shutil.ignore_patterns("images"))
        (folder / "data/raw/book/broken.pdf").write_bytes(b"%PDF-1.4 this is none")
        (folder / "data/raw/book/mail.md").write_text("# Mail\n\nWrite to ada@lovelace.dev or to cook@kitchen.dev, whoever answers first.\n")
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        monkeypatch.chdir(folder)
        found[engine.kind] = stages(values, engine)
    assert found["ray"] == found["local"]
    assert found["ray"][1]["ingestion"]["rejected"] == 1
    assert found["ray"][1]["redaction"]["by_type"]["EMAIL_ADDRESS"] == 2
    took_part = Counter(path.name.split()[0] for path in (tmp_path / "seen").iterdir())
    assert took_part == {"_reader": 2, "_redactor": 2, "_cutter": 2, "_encoder": 2}


def test_an_address_where_no_ray_answers_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"Ray at 127\.0\.0\.1:9 cannot be used"):
        list(work(RAY, failing, [1], 1))


@pytest.mark.slow
def test_without_an_address_ray_starts_on_this_machine_and_ends_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def squares() -> Work:
        return lambda numbers: [number * number for number in numbers]

    assert sorted(work(RAY, squares, range(5), 2)) == [0, 1, 4, 9, 16]
    import ray

    assert not ray.is_initialized()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
