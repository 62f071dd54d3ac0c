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
from weaviate.classes.query import Filter

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.errors import UserError
from pipelines.vectorstore import aliases, collections, places, server

if TYPE_CHECKING:
    from weaviate import WeaviateClient

ROOT = Path(__file__).parents[2]
FACTS = {"encoder_model": "mini", "encoder_revision": "", "encoder_digest": "e1", "precision": "fp32", "dimensions": "3"}
BUILD = """
import sys
from pathlib import Path
from pipelines.vectorstore.collections import build
print(build(Path(sys.argv[1]), Path(sys.argv[2]), keep=2, sample=4, hybrid_alpha=0.7).model_dump_json())
"""


def written(folder: Path, vectors: dict[str, list[float]]) -> tuple[Path, Path]:
    """chunks.parquet and vectors.parquet of these texts; their chunk ids are c-0, c-1 ..."""
    passages = [
        {"chunk_id": f"c-{number}", "doc_id": "c", "uri": f"book/{text}.md", "title": "Book", "headings": ["Book", text], "text": text, "start": 10 * number, "end": 10 * number + 9, "pages": [], "num_tokens": 3, "digest": text}
        for number, text in enumerate(vectors)
    ]  # fmt: skip
    files.write(folder / "chunks.parquet", CHUNKS, passages)
    rows = [{"chunk_id": f"c-{number}", "vector": vector} for number, vector in enumerate(vectors.values())]
    files.write(folder / "vectors.parquet", schema_of(3).with_metadata(FACTS), rows)
    return folder / "chunks.parquet", folder / "vectors.parquet"


def ours(client: "WeaviateClient") -> set[str]:
    """The names of all contents that are there, whole."""
    return {places.content_name(place.digest) for place in places.found(client) if place.digest}


def stored(client: "WeaviateClient", receipt: Receipt) -> dict[str, tuple[str, list[float]]]:
    """chunk id -> text and vector of every object."""
    held = client.collections.use(receipt.collection).iterator(include_vector=True)
    return {str(item.properties["chunk_id"]): (str(item.properties["text"]), list(item.vector["default"])) for item in held}


def unfinished(client: "WeaviateClient") -> list[str]:
    return [name for name, config in client.collections.list_all().items() if (config.description or "").startswith("unfinished")]


def reached(client: "WeaviateClient", name: str) -> int:
    """Objects to which the graph leads from one end of the vectors."""
    return len(client.collections.use(name).query.near_vector([1.0, 0.0, 0.0], limit=1000).objects)


def place_of(client: "WeaviateClient", receipt: Receipt) -> str:
    name = places.named(client, receipt.collection)
    assert name is not None
    return name


def test_the_nearest_passages_come_best_first_with_their_cosine_and_no_more_than_asked_for(serving: Path, tmp_path: Path) -> None:
    chunks, vectors = written(tmp_path, {"north": [0, 1, 0], "north-east": [0.6, 0.8, 0], "east": [1, 0, 0], "up": [0, 0, 1]})
    receipt = collections.build(chunks, vectors, keep=2, sample=4, hybrid_alpha=0.7)
    with collections.opened(receipt, chunks, vectors) as index:
        found = index.search("east", np.array([1.0, 0.0, 0.0], dtype=np.float32), 2)
        assert len(index.search("east", np.array([1.0, 0.0, 0.0], dtype=np.float32), 10)) == 4
    assert [(passage.chunk_id, passage.uri, passage.headings, passage.text) for passage in found] == [
        ("c-2", "book/east.md", ["Book", "east"], "east"),
        ("c-1", "book/north-east.md", ["Book", "north-east"], "north-east"),
    ]
    assert [passage.similarity for passage in found] == pytest.approx([1.0, 0.6], abs=1e-6)


def test_hybrid_alpha_weighs_the_words_of_a_question_against_its_vector(serving: Path, tmp_path: Path) -> None:
    chunks, vectors = written(tmp_path, {"the harbour": [1, 0, 0], "the lighthouse": [0.8, 0.6, 0], "the mountain": [0, 1, 0]})
    like_harbour = np.array([1.0, 0.0, 0.0], dtype=np.float32)
    best = {}
    for alpha in (0.0, 0.3, 1.0):
        receipt = collections.build(chunks, vectors, keep=2, sample=3, hybrid_alpha=alpha)
        with collections.opened(receipt, chunks, vectors) as index:
            best[alpha] = [passage.text for passage in index.search("where is the lighthouse", like_harbour, 3)]
    assert best[0.0][0] == "the lighthouse"
    assert best[0.3][0] == "the lighthouse"
    assert best[1.0] == ["the harbour", "the lighthouse", "the mountain"]


def test_a_passage_knows_the_pages_that_it_lies_on(serving: Path, tmp_path: Path) -> None:
    row = {"doc_id": "c", "uri": "book/a.pdf", "title": "", "headings": [], "start": 0, "end": 9, "num_tokens": 3, "digest": ""}
    files.write(tmp_path / "chunks.parquet", CHUNKS, [{**row, "chunk_id": "c-0", "text": "paged", "pages": [2, 3]}, {**row, "chunk_id": "c-1", "text": "not paged", "pages": []}])
    files.write(tmp_path / "vectors.parquet", schema_of(3).with_metadata(FACTS), [{"chunk_id": "c-0", "vector": [1, 0, 0]}, {"chunk_id": "c-1", "vector": [0, 1, 0]}])
    receipt = collections.build(tmp_path / "chunks.parquet", tmp_path / "vectors.parquet", keep=2, sample=4, hybrid_alpha=0.7)
    with collections.opened(receipt, tmp_path / "chunks.parquet", tmp_path / "vectors.parquet") as index:
        assert [(passage.text, passage.pages) for passage in index.search("paged", np.array([1.0, 0.1, 0.0], dtype=np.float32), 2)] == [("paged", (2, 3)), ("not paged", ())]


def test_a_receipt_says_what_was_built_of_what_and_is_the_same_in_another_clone(serving: Path, tmp_path: Path, other_clone: Callable[[str], AbstractContextManager[Path]]) -> None:
    chunks, vectors = written(tmp_path, {"north": [0, 1, 0], "east": [1, 0, 0]})
    here = collections.build(chunks, vectors, keep=2, sample=4, hybrid_alpha=0.7)
    with other_clone("other"):
        assert collections.build(chunks, vectors, keep=1, sample=1, hybrid_alpha=0.7) == here
        with server.session() as client:
            assert ours(client) == {here.collection}
    assert here.collection == f"Chunks_{here.digest[:12]}"
    assert (here.num_objects, here.dimensions) == (2, 3)
    assert here.encoder == Encoder(model="mini", revision=None, digest="e1", precision="fp32")
    assert (here.chunks_digest, here.vectors_digest) == (files.digest(chunks), files.digest(vectors))
    assert here.server_version == (ROOT / "infra/weaviate/version").read_text().strip()


def test_a_collection_that_is_there_is_not_written_again(serving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from weaviate.classes.query import MetadataQuery

    chunks, vectors = written(tmp_path, {"once": [0, 1, 0], "only": [1, 0, 0]})
    receipt = collections.build(chunks, vectors, keep=2, sample=4, hybrid_alpha=0.7)
    with server.session() as client:
        times = MetadataQuery(creation_time=True, last_update_time=True)
        before = client.collections.use(receipt.collection).query.fetch_objects(return_metadata=times).objects
        assert collections.build(chunks, vectors, keep=2, sample=4, hybrid_alpha=0.7) == receipt
        after = client.collections.use(receipt.collection).query.fetch_objects(return_metadata=times).objects
    assert [(held.uuid, held.metadata) for held in before] == [(held.uuid, held.metadata) for held in after]
    assert len(after) == 2
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith(receipt.collection)]
    assert told == [f"{receipt.collection}: 2 objects written and verified", f"{receipt.collection}: there and verified (2 objects)"]


@pytest.mark.parametrize("damage", ["an object missing", "an object too many", "a vector changed", "collection deleted"])
def test_a_collection_that_is_not_what_the_files_say_is_rebuilt_from_them_when_it_is_opened(serving: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    from weaviate.classes.query import Filter

    chunks, vectors = written(tmp_path, {"north": [0, 1, 0], "east": [1, 0, 0], damage: [0, 0, 1]})
    receipt = collections.build(chunks, vectors, keep=1, sample=4, hybrid_alpha=0.7)
    aliases.point("Read", receipt.collection)
    with server.session() as client:
        place = place_of(client, receipt)
        collection = client.collections.use(place)
        one = collection.query.fetch_objects(filters=Filter.by_property("chunk_id").equal("c-1")).objects[0].uuid
        match damage:
            case "an object missing":
                collection.data.delete_by_id(one)
            case "an object too many":
                collection.data.insert({"chunk_id": "c-9", "text": "stray"}, vector=[1.0, 0.0, 0.0])
            case "a vector changed":
                collection.data.update(one, vector=[0.0, 0.8, 0.6])
            case "collection deleted":
                client.collections.delete(place)
        capsys.readouterr()
        with collections.opened(receipt, chunks, vectors) as index:
            assert [passage.text for passage in index.search("east", np.array([1.0, 0.1, 0.0], dtype=np.float32), 9)] == ["east", "north", damage]
        assert capsys.readouterr().out == f"{receipt.collection}: 3 objects written and verified\n"
        assert collections.missing(receipt) is None
        assert not client.collections.exists(place)
    assert aliases.state("Read") == (receipt.collection, None)
    aliases.remove("Read")


def test_a_build_killed_in_the_middle_is_finished_by_the_next_one(serving: Path, tmp_path: Path) -> None:
    chunks, vectors = written(tmp_path, {f"passage {number}": [1.0, number / 3000, 0.0] for number in range(3000)})
    with server.session() as client:
        before = ours(client)
        with subprocess.Popen([sys.executable, "-c", BUILD, str(chunks), str(vectors)], env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
            deadline = time.monotonic() + 120
            while not unfinished(client):
                assert process.poll() is None
                assert time.monotonic() < deadline
            process.send_signal(signal.SIGKILL)
        assert not ours(client) - before
        receipt = collections.build(chunks, vectors, keep=2, sample=4, hybrid_alpha=0.7)
        assert len(stored(client, receipt)) == 3000
        assert (unfinished(client), collections.missing(receipt)) == ([], None)


def test_a_spare_that_was_not_filled_to_its_end_is_not_used_and_goes(serving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "later").mkdir()
    with server.session() as client:
        for place in places.found(client):
            places.remove(client, place)
        collections.build(*written(tmp_path, {"half": [0, 1, 0], "filled": [1, 0, 0]}), keep=2, sample=4, hybrid_alpha=0.7)
        spare = places.reusable(client, None)
        assert spare is not None
        places.claim(client, spare.name)
        capsys.readouterr()
        receipt = collections.build(*written(tmp_path / "later", {"half": [0, 1, 0], "other": [1, 0, 0]}), keep=2, sample=4, hybrid_alpha=0.7)
        assert capsys.readouterr().out == f"{receipt.collection}: 2 objects written and verified\n{spare.name}: removed (a build did not finish it)\n"
        assert [(place.digest is None, place.number < 0) for place in places.found(client)] == [(False, False)] * 2


def test_a_disk_that_fills_up_under_weaviate_is_told_and_afterwards_every_collection_is_whole(
    small_disk: Callable[[int], Path], tmp_path: Path, other_clone: Callable[[str], AbstractContextManager[Path]], servers: Callable[[Path], list[int]]
) -> None:
    """Of 1,004 objects that were there of the failed write, a search by vector led to 673."""
    small = small_disk(60_000)
    chunks, vectors = written(tmp_path, {f"passage {number}": [1.0, number / 2000, 0.0] for number in range(2000)})
    with other_clone("small/clone") as clone:
        with server.session():
            left = shutil.disk_usage(small).free
            (small / "ballast").write_bytes(bytes(left - 1_500_000))
            with pytest.raises(UserError, match="no space left on device|did not keep|leader not found"):
                collections.build(chunks, vectors, keep=3, sample=64, hybrid_alpha=0.7)
        while servers(clone):
            time.sleep(0.05)
        (small / "ballast").unlink()
        with server.session() as client:
            assert [place.number for place in places.found(client)] == [-1]
            receipt = collections.build(chunks, vectors, keep=3, sample=64, hybrid_alpha=0.7)
            assert [place.number for place in places.found(client)] == [0, 0, 1]
            assert places.found(client)[-1].name == place_of(client, receipt)
            assert {client.collections.use(place.name).aggregate.over_all(total_count=True).total_count for place in places.found(client)} == {2000}
            assert {reached(client, place.name) for place in places.found(client)} == {1000}


def test_a_build_writes_what_changed_into_a_spare_and_is_what_a_build_from_nothing_is(
    serving: Path, tmp_path: Path, other_clone: Callable[[str], AbstractContextManager[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "later").mkdir()
    texts = {f"passage {number}": [1.0, number / 40, 0.0] for number in range(40)}
    later = {("edited" if text == "passage 7" else text): vector for text, vector in texts.items() if text != "passage 39"} | {"passage 9": [0.0, 1.0, 0.0]}
    with server.session() as client:
        for name in ours(client):
            client.collections.delete(str(places.named(client, name)))
        first = collections.build(*written(tmp_path, texts), keep=2, sample=4, hybrid_alpha=0.7)
        both = {place.name for place in places.found(client)}
        capsys.readouterr()
        receipt = collections.build(*written(tmp_path / "later", later), keep=2, sample=4, hybrid_alpha=0.7)
        assert capsys.readouterr().out == f"{receipt.collection}: 37 objects kept, 2 written, 3 removed and verified\n"
        assert ({place.name for place in places.found(client)}, ours(client)) == (both, {first.collection, receipt.collection})
        grown, before = stored(client, receipt), stored(client, first)
    with other_clone("nothing"), server.session() as client:
        assert collections.build(*written(tmp_path / "later", later), keep=1, sample=4, hybrid_alpha=0.7) == receipt
        assert stored(client, receipt) == grown
        assert collections.build(*written(tmp_path, texts), keep=1, sample=4, hybrid_alpha=0.7) == first
        assert stored(client, first) == before


def test_a_collection_that_has_the_contents_very_name_gives_it_to_a_place_with_all_its_aliases(serving: Path, tmp_path: Path) -> None:
    chunks, vectors = written(tmp_path, {"former": [0, 1, 0], "state": [1, 0, 0]})
    receipt = collections.build(chunks, vectors, keep=1, sample=4, hybrid_alpha=0.7)
    with server.session() as client:
        client.alias.delete(alias_name=receipt.collection)
        client.collections.delete(places.found(client)[-1].name)
        client.collections.create(receipt.collection)
        client.alias.create(alias_name="Formerly", target_collection=receipt.collection)
        assert collections.build(chunks, vectors, keep=1, sample=4, hybrid_alpha=0.7) == receipt
        assert len(stored(client, receipt)) == 2
    assert aliases.state("Formerly") == (receipt.collection, None)
    aliases.remove("Formerly")


def test_a_kill_right_after_a_build_loses_nothing_of_the_graph(clone: Path, tmp_path: Path, servers: Callable[[Path], list[int]]) -> None:
    chunks, vectors = written(tmp_path, {f"passage {number}": [1.0, number / 500, 0.0] for number in range(500)})
    with server.session() as client:
        receipt = collections.build(chunks, vectors, keep=2, sample=4, hybrid_alpha=0.7)
        before = {place.name: reached(client, place.name) for place in places.found(client)}
        (killed,) = servers(clone)
        os.kill(killed, signal.SIGKILL)
        while servers(clone):
            time.sleep(0.05)
        with server.session() as again:
            assert {place.name: reached(again, place.name) for place in places.found(again)} == before
            assert collections.missing(receipt) is None
    assert min(before.values()) > 450


def test_a_spare_whose_vectors_were_lost_is_not_built_upon(serving: Path, tmp_path: Path) -> None:
    (tmp_path / "later").mkdir()
    texts = {f"passage {number}": [1.0, number / 40, 0.0] for number in range(40)}
    with server.session() as client:
        first = collections.build(*written(tmp_path, texts), keep=2, sample=4, hybrid_alpha=0.7)
        spare = places.reusable(client, 2)
        assert spare is not None
        damaged = client.collections.use(spare.name)
        held = damaged.query.fetch_objects(limit=100).objects
        damaged.data.delete_many(where=Filter.by_id().contains_any([one.uuid for one in held]))
        for one in held:
            damaged.data.insert(dict(one.properties), uuid=one.uuid)
        receipt = collections.build(*written(tmp_path / "later", texts | {"another": [0.0, 1.0, 0.0]}), keep=2, sample=4, hybrid_alpha=0.7)
        assert not client.collections.exists(spare.name)
        assert [collections.missing(built) for built in (first, receipt)] == [None, None]


def test_a_collection_that_another_build_took_meanwhile_is_not_called_finished(serving: Path) -> None:
    with server.session() as client:
        name = places.create(client)
        ours, theirs = places.claim(client, name), places.claim(client, name)
        with pytest.raises(UserError, match="another build writes to Weaviate at the same time"):
            places.finish(client, name, ours, "d" * 64)
        places.finish(client, name, theirs, "e" * 64)
        assert places.holding(client, "d" * 64) is None
        assert places.holding(client, "e" * 64) == places.found(client)[-1]
        client.collections.delete(name)


def test_two_processes_that_build_the_same_collection_at_once_both_get_it(serving: Path, tmp_path: Path) -> None:
    chunks, vectors = written(tmp_path, {f"shared {number}": [0.0, 1.0, number / 800] for number in range(800)})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    builders = [subprocess.Popen([sys.executable, "-c", BUILD, str(chunks), str(vectors)], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    receipts = {builder.communicate(timeout=60)[0].splitlines()[-1] for builder in builders}
    assert [builder.returncode for builder in builders] == [0, 0]
    assert receipts == {collections.build(chunks, vectors, keep=2, sample=4, hybrid_alpha=0.7).model_dump_json()}


def test_other_files_than_the_receipt_was_made_from_are_refused_with_the_command_that_mends_it(serving: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    chunks, vectors = written(tmp_path, {"north": [0, 1, 0]})
    other_chunks, other_vectors = written(tmp_path / "other", {"south": [0, -1, 0]})
    receipt = collections.build(chunks, vectors, keep=2, sample=4, hybrid_alpha=0.7)
    for pair in ((other_chunks, vectors), (chunks, other_vectors)):
        with pytest.raises(UserError, match=rf"the receipt of {receipt.collection} was made from other files than .+: `dvc repro index`"), collections.opened(receipt, *pair):
            pass


def test_more_collections_than_keep_lose_the_oldest_and_those_of_others_stay(serving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = {}
    for name, vector in {"first": [0.0, 1.0, 0.0], "second": [1.0, 0.0, 0.0], "third": [0.0, 0.0, 1.0]}.items():
        (tmp_path / name).mkdir()
        pairs[name] = written(tmp_path / name, {name: vector})
    with server.session() as client:
        client.collections.create("Somebodys")
        names = {name: collections.build(*pair, keep=2, sample=4, hybrid_alpha=0.7).collection for name, pair in pairs.items()}
        assert ours(client) == {names["second"], names["third"]}
        assert f"{names['first']}: removed (index.keep)\n" in capsys.readouterr().out
        collections.build(*pairs["first"], keep=2, sample=4, hybrid_alpha=0.7)
        assert ours(client) == {names["third"], names["first"]}
        collections.build(*pairs["third"], keep=1, sample=4, hybrid_alpha=0.7)
        assert ours(client) == {names["third"]}
        assert client.collections.exists("Somebodys")
        assert {name for name in client.alias.list_all() if name.startswith("Chunks_")} >= ours(client)


def test_a_vector_that_weaviate_cannot_take_is_told_with_its_words_and_nothing_half_filled_stays(serving: Path, tmp_path: Path) -> None:
    chunks, vectors = written(tmp_path, {"north": [0, 1, 0], "broken": [float("nan"), 1, 0]})
    with server.session() as client:
        before = ours(client)
        with pytest.raises(UserError, match="Weaviate (refused|did not keep)"):
            collections.build(chunks, vectors, keep=9, sample=4, hybrid_alpha=0.7)
        assert ours(client) == before
