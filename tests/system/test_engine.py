"""Work in this process and on a Ray cluster of two nodes on this machine; the outputs are equal."""

import importlib.util
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.config import params
from pipelines.config.engine import EngineConfig
from pipelines.config.ingest import IngestConfig
from pipelines.errors import Unreachable, UserError
from pipelines.system.engine import LOCAL, Work, Worker, work
from tests.knowledge import BOOK, Build, build_vectors

ROOT = Path(__file__).parents[2]
RAY = EngineConfig(kind="ray")


def refuse_to_make() -> Work:
    raise AssertionError("there is no work to make")


def test_the_local_engine_gives_every_result_and_no_call_gets_more_inputs_than_allowed() -> None:
    sizes: list[int] = []

    def make() -> Work:
        def increase(numbers: list[int]) -> list[int]:
            sizes.append(len(numbers))
            return [number + 1 for number in numbers]

        return increase

    assert list(work(LOCAL, make, range(5), 2)) == [1, 2, 3, 4, 5]
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("engine", [LOCAL, RAY])
def test_without_inputs_nothing_is_made_or_started(engine: EngineConfig) -> None:
    assert list(work(engine, refuse_to_make, [], 4)) == []


def test_if_ray_is_not_installed_the_error_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find_spec = importlib.util.find_spec

    def find_all_but_ray(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "ray" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_all_but_ray)
    message = (
        r"engine\.kind: ray needs the package ray, which is not installed: "
        r"`make setup` installs it"
    )
    with pytest.raises(UserError, match=message):
        list(work(RAY, refuse_to_make, [1], 1))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster: a head that does no work and two nodes with one CPU each.

    Its address is in RAY_ADDRESS.
    """
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    ray_cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            ray_cluster.add_node(num_cpus=1)
        monkeypatch.setenv("RAY_ADDRESS", ray_cluster.address)
        yield ray_cluster
    finally:
        ray_cluster.shutdown()


def make_recording_worker(folder: Path) -> type[Worker]:
    """A worker that leaves its work's name and its node's name in the folder.

    It does not go on to a second list before the other node has one: otherwise a quick node could
    do everything.
    """

    class RecordingWorker(Worker):
        def __init__(self, make: Any):
            super().__init__(make)
            self._name = make.func.__name__

        def __call__(self, block: pa.Table) -> pa.Table:
            import ray

            (folder / f"{self._name} {ray.get_runtime_context().get_node_id()}").touch()
            deadline = time.monotonic() + 120
            while len(list(folder.glob(f"{self._name} *"))) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            return super().__call__(block)

    return RecordingWorker


def make_project(folder: Path) -> None:
    """A Git repository with the handbook, a damaged file and one with personal data."""
    images = shutil.ignore_patterns("images")
    book = folder / "data/raw/book"
    shutil.copytree(ROOT / "data/raw/handbook", book, ignore=images)
    (book / "broken.pdf").write_bytes(b"%PDF-1.4 this is none")
    (book / "mail.md").write_text(
        "# Mail\n\nWrite to ada@lovelace.dev or to cook@kitchen.dev, whoever answers first.\n"
    )
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[EngineConfig], Build]:
    """Runs ingest to embed in a project of its own."""

    def build_with(engine: EngineConfig) -> Build:
        values = params.load(ROOT / "params.yaml")
        sources = values.section(IngestConfig).model_copy(
            update={"sources": [BOOK], "max_rejected_share": 0.5}
        )
        folder = tmp_path / engine.kind
        make_project(folder)
        monkeypatch.chdir(folder)
        return build_vectors(values, sources, engine)

    return build_with


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cluster_of_two_nodes_gives_the_digests_of_one_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[[EngineConfig], Build],
) -> None:
    """Both nodes take part in each of the four kinds of work, cut into small lists for that."""
    records = tmp_path / "records"
    records.mkdir()
    monkeypatch.setattr("pipelines.system.engine.Worker", make_recording_worker(records))
    for name in (
        "corpus.intake.TASKS_A_CALL",
        "stages.redact.DOCUMENTS_A_CALL",
        "stages.chunk.DOCUMENTS_A_CALL",
        "stages.embed.BATCHES_A_CALL",
    ):
        monkeypatch.setattr(f"pipelines.{name}", 3)
    local = build(LOCAL)
    ray = build(RAY)
    assert ray.digests == local.digests
    for reports in (local.reports, ray.reports):
        del reports["embedding"]["seconds"]
    assert ray.reports == local.reports
    assert ray.reports["ingestion"]["rejected"] == 1
    # Those of mail.md; a page of the handbook may show further ones.
    assert ray.reports["redaction"]["by_type"]["EMAIL_ADDRESS"] >= 2
    num_nodes = Counter(record.name.split()[0] for record in records.iterdir())
    assert num_nodes == {"_reader": 2, "_make_redactor": 2, "_make_cutter": 2, "_make_encode": 2}


def test_an_address_at_which_no_ray_answers_is_reported_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"Ray at 127\.0\.0\.1:9 cannot be used"):
        list(work(RAY, refuse_to_make, [1], 1))


@pytest.mark.slow
def test_without_an_address_ray_starts_on_this_machine_and_ends_with_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def make_square() -> Work:
        return lambda numbers: [number * number for number in numbers]

    assert sorted(work(RAY, make_square, range(5), 2)) == [0, 1, 4, 9, 16]
    import ray

    assert not ray.is_initialized()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
