import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from weaviate.classes.query import Filter, MetadataQuery

from pipelines import files
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.errors import UserError
from pipelines.vectorstore import (
    alias_state,
    build_index,
    index_problem,
    open_client,
    open_index,
    point_alias,
    remove_alias,
    stored_collections,
)
from pipelines.vectorstore.stored_collections import content_name, list_stored
from tests.vectorstore.conftest import write_source

if TYPE_CHECKING:
    from weaviate import WeaviateClient

ROOT = Path(__file__).parents[2]
BUILD = """
import sys
from pathlib import Path
from pipelines.vectorstore import build_index
chunks, vectors = map(Path, sys.argv[1:])
receipt = build_index(chunks, vectors, keep=2, sample=4, hybrid_alpha=0.7)
print(receipt.model_dump_json())
"""

OtherClone = Callable[[str], AbstractContextManager[Path]]
Pids = Callable[[Path], list[int]]


def content_names(client: "WeaviateClient") -> set[str]:
    """The names of all contents that are there, complete."""
    digests = [collection.digest for collection in list_stored(client)]
    return {content_name(digest) for digest in digests if digest}


def all_objects(client: "WeaviateClient", receipt: Receipt) -> dict[str, tuple[str, list[float]]]:
    """chunk id -> text and vector of every object."""
    objects: dict[str, tuple[str, list[float]]] = {}
    for item in client.collections.use(receipt.collection).iterator(include_vector=True):
        text = str(item.properties["text"])
        objects[str(item.properties["chunk_id"])] = (text, list(item.vector["default"]))
    return objects


def unfinished_names(client: "WeaviateClient") -> list[str]:
    configs = client.collections.list_all().items()
    return [name for name, config in configs if (config.description or "").startswith("unfinished")]


def num_reached(client: "WeaviateClient", name: str) -> int:
    """Objects to which the graph leads from one end of the vectors."""
    query = client.collections.use(name).query
    return len(query.near_vector([1.0, 0.0, 0.0], limit=1000).objects)


def num_objects(client: "WeaviateClient", name: str) -> int:
    answer = client.collections.use(name).aggregate.over_all(total_count=True)
    return int(answer.total_count or 0)


def collection_of(client: "WeaviateClient", receipt: Receipt) -> str:
    name = stored_collections.resolve(client, receipt.collection)
    assert name is not None
    return name


def row_of_texts(length: int, prefix: str = "passage") -> dict[str, list[float]]:
    """Texts whose vectors turn slowly away from the first axis."""
    return {f"{prefix} {number}": [1.0, number / length, 0.0] for number in range(length)}


def test_a_receipt_says_what_was_built_of_what_and_is_the_same_in_another_clone(
    serving: Path, tmp_path: Path, other_clone: OtherClone
) -> None:
    source = write_source(tmp_path, {"north": [0, 1, 0], "east": [1, 0, 0]})
    receipt = build_index(*source, keep=2, sample=4, hybrid_alpha=0.7)
    with other_clone("other"):
        assert build_index(*source, keep=1, sample=1, hybrid_alpha=0.7) == receipt
        with open_client() as client:
            assert content_names(client) == {receipt.collection}
    assert receipt.collection == f"Chunks_{receipt.digest[:12]}"
    assert (receipt.num_objects, receipt.dimensions) == (2, 3)
    assert receipt.encoder == Encoder(model="mini", revision=None, digest="e1", precision="fp32")
    assert receipt.chunks_digest == files.digest(source.chunks)
    assert receipt.vectors_digest == files.digest(source.vectors)
    assert receipt.server_version == (ROOT / "infra/weaviate/version").read_text().strip()


def test_a_collection_that_is_there_is_not_written_again(
    serving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path, {"once": [0, 1, 0], "only": [1, 0, 0]})
    receipt = build_index(*source, keep=2, sample=4, hybrid_alpha=0.7)
    times = MetadataQuery(creation_time=True, last_update_time=True)
    with open_client() as client:
        query = client.collections.use(receipt.collection).query
        before = query.fetch_objects(return_metadata=times).objects
        assert build_index(*source, keep=2, sample=4, hybrid_alpha=0.7) == receipt
        after = query.fetch_objects(return_metadata=times).objects
    assert len(before) == len(after) == 2
    for old, new in zip(before, after, strict=True):
        assert (old.uuid, old.metadata) == (new.uuid, new.metadata)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(receipt.collection)] == [
        f"{receipt.collection}: 2 objects written and verified",
        f"{receipt.collection}: there and verified (2 objects)",
    ]


@pytest.mark.parametrize(
    "damage", ["an object missing", "an object too many", "a vector changed", "collection deleted"]
)
def test_a_collection_that_is_not_what_the_files_say_is_rebuilt_from_them_when_it_is_opened(
    serving: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path, {"north": [0, 1, 0], "east": [1, 0, 0], damage: [0, 0, 1]})
    receipt = build_index(*source, keep=1, sample=4, hybrid_alpha=0.7)
    point_alias("Read", receipt.collection)
    with open_client() as client:
        name = collection_of(client, receipt)
        collection = client.collections.use(name)
        is_east = Filter.by_property("chunk_id").equal("c-1")
        (east,) = collection.query.fetch_objects(filters=is_east).objects
        match damage:
            case "an object missing":
                collection.data.delete_by_id(east.uuid)
            case "an object too many":
                collection.data.insert({"chunk_id": "c-9", "text": "stray"}, vector=[1.0, 0.0, 0.0])
            case "a vector changed":
                collection.data.update(east.uuid, vector=[0.0, 0.8, 0.6])
            case "collection deleted":
                client.collections.delete(name)
        capsys.readouterr()
        with open_index(receipt, *source) as index:
            passages = index.search("east", np.array([1.0, 0.1, 0.0], dtype=np.float32), 9)
        assert [passage.text for passage in passages] == ["east", "north", damage]
        assert capsys.readouterr().out == f"{receipt.collection}: 3 objects written and verified\n"
        assert index_problem(receipt) is None
        assert not client.collections.exists(name)
    assert alias_state("Read") == (receipt.collection, None)
    remove_alias("Read")


def test_a_build_killed_in_the_middle_is_finished_by_the_next_one(
    serving: Path, tmp_path: Path
) -> None:
    source = write_source(tmp_path, row_of_texts(3000))
    with open_client() as client:
        before = content_names(client)
        with subprocess.Popen(
            [sys.executable, "-c", BUILD, *map(str, source)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            deadline = time.monotonic() + 120
            while not unfinished_names(client):
                assert process.poll() is None
                assert time.monotonic() < deadline
            process.send_signal(signal.SIGKILL)
        assert not content_names(client) - before
        receipt = build_index(*source, keep=2, sample=4, hybrid_alpha=0.7)
        assert len(all_objects(client, receipt)) == 3000
        assert unfinished_names(client) == []
        assert index_problem(receipt) is None


def test_a_spare_that_was_not_filled_to_its_end_is_not_used_and_goes(
    serving: Path, graphs: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(tmp_path / "first", {"half": [0, 1, 0], "filled": [1, 0, 0]})
    later_source = write_source(tmp_path / "later", {"half": [0, 1, 0], "other": [1, 0, 0]})
    with open_client() as client:
        for collection in list_stored(client):
            stored_collections.remove(client, collection)
        build_index(*source, keep=2, sample=4, hybrid_alpha=0.7)
        spare = stored_collections.find_reusable(client, None)
        assert spare is not None
        stored_collections.claim(client, spare.name)
        capsys.readouterr()
        receipt = build_index(*later_source, keep=2, sample=4, hybrid_alpha=0.7)
        assert capsys.readouterr().out == (
            f"{receipt.collection}: 2 objects written and verified\n"
            f"{spare.name}: removed (a build did not finish it)\n"
        )
        collections = list_stored(client)
    assert len(collections) == 2
    assert all(collection.digest and collection.number >= 0 for collection in collections)


def test_a_disk_that_fills_up_under_weaviate_is_an_error_and_later_every_collection_is_complete(
    small_disk: Callable[[int], Path],
    graphs: None,
    tmp_path: Path,
    other_clone: OtherClone,
    servers: Pids,
) -> None:
    """Of 1,004 objects that were there of the failed write, a search by vector led to 673."""
    small = small_disk(60_000)
    source = write_source(tmp_path, row_of_texts(2000))
    with other_clone("small/clone") as clone:
        with open_client():
            num_free = shutil.disk_usage(small).free
            (small / "ballast").write_bytes(bytes(num_free - 1_500_000))
            with pytest.raises(
                UserError, match="no space left on device|did not keep|leader not found"
            ):
                build_index(*source, keep=3, sample=64, hybrid_alpha=0.7)
        while servers(clone):
            time.sleep(0.05)
        (small / "ballast").unlink()
        with open_client() as client:
            assert [collection.number for collection in list_stored(client)] == [-1]
            receipt = build_index(*source, keep=3, sample=64, hybrid_alpha=0.7)
            collections = list_stored(client)
            assert [collection.number for collection in collections] == [0, 0, 1]
            assert collections[-1].name == collection_of(client, receipt)
            for collection in collections:
                assert num_objects(client, collection.name) == 2000
                assert num_reached(client, collection.name) == 1000


def test_a_build_writes_what_changed_into_a_spare_and_equals_a_build_from_nothing(
    serving: Path,
    graphs: None,
    tmp_path: Path,
    other_clone: OtherClone,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = row_of_texts(40)
    later_texts: dict[str, list[float]] = {}
    for text, vector in texts.items():
        if text != "passage 39":
            later_texts["edited" if text == "passage 7" else text] = vector
    later_texts["passage 9"] = [0.0, 1.0, 0.0]
    source = write_source(tmp_path / "first", texts)
    later_source = write_source(tmp_path / "later", later_texts)
    with open_client() as client:
        for name in content_names(client):
            client.collections.delete(str(stored_collections.resolve(client, name)))
        first = build_index(*source, keep=2, sample=4, hybrid_alpha=0.7)
        names = {collection.name for collection in list_stored(client)}
        capsys.readouterr()
        later = build_index(*later_source, keep=2, sample=4, hybrid_alpha=0.7)
        assert capsys.readouterr().out == (
            f"{later.collection}: 37 objects kept, 2 written, 3 removed and verified\n"
        )
        assert {collection.name for collection in list_stored(client)} == names
        assert content_names(client) == {first.collection, later.collection}
        later_objects = all_objects(client, later)
        first_objects = all_objects(client, first)
    with other_clone("nothing"), open_client() as client:
        assert build_index(*later_source, keep=1, sample=4, hybrid_alpha=0.7) == later
        assert all_objects(client, later) == later_objects
        assert build_index(*source, keep=1, sample=4, hybrid_alpha=0.7) == first
        assert all_objects(client, first) == first_objects


def test_a_collection_with_the_contents_very_name_passes_it_on_with_all_its_aliases(
    serving: Path, tmp_path: Path
) -> None:
    source = write_source(tmp_path, {"former": [0, 1, 0], "state": [1, 0, 0]})
    receipt = build_index(*source, keep=1, sample=4, hybrid_alpha=0.7)
    with open_client() as client:
        client.alias.delete(alias_name=receipt.collection)
        client.collections.delete(list_stored(client)[-1].name)
        client.collections.create(receipt.collection)
        client.alias.create(alias_name="Formerly", target_collection=receipt.collection)
        assert build_index(*source, keep=1, sample=4, hybrid_alpha=0.7) == receipt
        assert len(all_objects(client, receipt)) == 2
    assert alias_state("Formerly") == (receipt.collection, None)
    remove_alias("Formerly")


@pytest.mark.parametrize("exact_up_to_objects", [0, 500])
def test_a_kill_right_after_a_build_loses_nothing_of_the_vector_index(
    clone: Path,
    tmp_path: Path,
    servers: Pids,
    exact_up_to_objects: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored_collections, "EXACT_UP_TO_OBJECTS", exact_up_to_objects)
    source = write_source(tmp_path, row_of_texts(500))
    with open_client() as client:
        receipt = build_index(*source, keep=2, sample=4, hybrid_alpha=0.7)
        names = [collection.name for collection in list_stored(client)]
        before = {name: num_reached(client, name) for name in names}
        (server,) = servers(clone)
        os.kill(server, signal.SIGKILL)
        while servers(clone):
            time.sleep(0.05)
        with open_client() as new_client:
            assert {name: num_reached(new_client, name) for name in names} == before
            assert [collection.name for collection in list_stored(new_client)] == names
            assert index_problem(receipt) is None
    # Not every object of such a row is reached: the threads that build the graph race.
    assert min(before.values()) > 250


def test_a_spare_whose_vectors_were_lost_is_not_built_upon(
    serving: Path, graphs: None, tmp_path: Path
) -> None:
    texts = row_of_texts(40)
    source = write_source(tmp_path / "first", texts)
    later_source = write_source(tmp_path / "later", texts | {"another": [0.0, 1.0, 0.0]})
    with open_client() as client:
        for collection in list_stored(client):
            stored_collections.remove(client, collection)
        first = build_index(*source, keep=2, sample=4, hybrid_alpha=0.7)
        spare = stored_collections.find_reusable(client, 2)
        assert spare is not None
        stored = client.collections.use(spare.name)
        objects = stored.query.fetch_objects(limit=100).objects
        ids = [item.uuid for item in objects]
        stored.data.delete_many(where=Filter.by_id().contains_any(ids))
        for item in objects:
            stored.data.insert(dict(item.properties), uuid=item.uuid)
        later = build_index(*later_source, keep=2, sample=4, hybrid_alpha=0.7)
        assert not client.collections.exists(spare.name)
        assert index_problem(first) is None
        assert index_problem(later) is None


def test_two_processes_that_build_the_same_collection_at_once_both_get_it(
    serving: Path, tmp_path: Path
) -> None:
    source = write_source(tmp_path, row_of_texts(800, "shared"))
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, *map(str, source)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    receipts = {builder.communicate(timeout=60)[0].splitlines()[-1] for builder in builders}
    assert [builder.returncode for builder in builders] == [0, 0]
    receipt = build_index(*source, keep=2, sample=4, hybrid_alpha=0.7)
    assert receipts == {receipt.model_dump_json()}


def test_other_files_than_the_receipts_are_refused_with_the_command_that_repairs_it(
    serving: Path, tmp_path: Path
) -> None:
    source = write_source(tmp_path, {"north": [0, 1, 0]})
    foreign_source = write_source(tmp_path / "other", {"south": [0, -1, 0]})
    receipt = build_index(*source, keep=2, sample=4, hybrid_alpha=0.7)
    message = (
        rf"the receipt of {receipt.collection} was made from other files than .+: `dvc repro index`"
    )
    for chunks, vectors in (
        (foreign_source.chunks, source.vectors),
        (source.chunks, foreign_source.vectors),
    ):
        with pytest.raises(UserError, match=message), open_index(receipt, chunks, vectors):
            pass


def test_more_collections_than_keep_lose_the_oldest_and_those_of_others_stay(
    serving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_source(tmp_path / "first", {"first": [0.0, 1.0, 0.0]})
    second = write_source(tmp_path / "second", {"second": [1.0, 0.0, 0.0]})
    third = write_source(tmp_path / "third", {"third": [0.0, 0.0, 1.0]})
    with open_client() as client:
        client.collections.create("Somebodys")
        first_name = build_index(*first, keep=2, sample=4, hybrid_alpha=0.7).collection
        second_name = build_index(*second, keep=2, sample=4, hybrid_alpha=0.7).collection
        third_name = build_index(*third, keep=2, sample=4, hybrid_alpha=0.7).collection
        assert content_names(client) == {second_name, third_name}
        assert f"{first_name}: removed (index.keep)\n" in capsys.readouterr().out
        build_index(*first, keep=2, sample=4, hybrid_alpha=0.7)
        assert content_names(client) == {third_name, first_name}
        build_index(*third, keep=1, sample=4, hybrid_alpha=0.7)
        assert content_names(client) == {third_name}
        assert client.collections.exists("Somebodys")
        aliases = [name for name in client.alias.list_all() if name.startswith("Chunks_")]
        assert set(aliases) >= {third_name}


def test_a_vector_that_weaviate_refuses_is_an_error_with_its_words_and_leaves_nothing_half_filled(
    serving: Path, tmp_path: Path
) -> None:
    source = write_source(tmp_path, {"north": [0, 1, 0], "broken": [float("nan"), 1, 0]})
    with open_client() as client:
        before = content_names(client)
        with pytest.raises(UserError, match="Weaviate (refused|did not keep)"):
            build_index(*source, keep=9, sample=4, hybrid_alpha=0.7)
        assert content_names(client) == before
