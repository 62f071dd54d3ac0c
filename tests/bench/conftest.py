"""Fixtures of the benches that ask the exported assistant in Triton."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.serve import ServeConfig
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.serving import live_routes, live_server, locations
from pipelines.serving.triton_connection import Triton
from pipelines.vectorstore import open_index, point_alias, server_address

TRITON = Path("models/triton")
RECEIPT = Path("data/index.json")
CHUNKS = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")


@pytest.fixture
def release_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The exported release, installed for a server of this test alone."""
    if not TRITON.exists():
        pytest.skip("needs the exported assistant: `make run` first")
    release_id = files.read_json(TRITON / "release.json", ReleaseRecord).release_id
    monkeypatch.setattr(locations, "serving_folder", lambda: tmp_path / "serving")
    monkeypatch.setattr(locations, "traffic_folder", lambda: tmp_path / "traffic")
    live_server.install(TRITON, release_id)
    return release_id


@pytest.fixture
def triton(release_id: str) -> Iterator[Triton]:
    """A live server that answers with this release alone."""
    receipt = files.read_json(RECEIPT, Receipt)
    config = params.load().section(ServeConfig)
    with server_address() as environment, open_index(receipt, CHUNKS, VECTORS):
        point_alias(live_server.alias(release_id), receipt.collection)
        with live_server.hold(config, [release_id], environment) as server:
            live_routes.write([(release_id, 1.0)])
            yield server
