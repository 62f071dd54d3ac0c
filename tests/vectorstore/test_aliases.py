from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.errors import Unreachable, UserError
from pipelines.vectorstore import (
    AliasReader,
    alias_state,
    build_index,
    hold_server,
    move_alias_back,
    open_client,
    point_alias,
    remove_alias,
    stored_collections,
    withhold_alias,
)

FACTS = {
    "encoder_model": "mini",
    "encoder_revision": "",
    "encoder_digest": "e1",
    "precision": "fp32",
    "dimensions": "2",
}
CHUNK: dict[str, Any] = {
    "chunk_id": "c-0",
    "doc_id": "c",
    "uri": "book/a.md",
    "title": "",
    "headings": [],
    "table_head": None,
    "start": 0,
    "end": 9,
    "pages": [],
    "readers": ["everyone"],
    "num_tokens": 1,
}


def build(folder: Path, text: str, keep: int = 2) -> str:
    """A collection of one passage with this text; its name."""
    chunks = folder / f"{text}-chunks.parquet"
    vectors = folder / f"{text}-vectors.parquet"
    files.write(chunks, CHUNKS, [{**CHUNK, "text": text, "digest": text}])
    schema = schema_of(2).with_metadata(FACTS)
    files.write(vectors, schema, [{"chunk_id": "c-0", "vector": [0.0, 1.0]}])
    return build_index(chunks, vectors, keep=keep, sample=1, hybrid_alpha=0.7).collection


def find_text(alias: str) -> str:
    """The text that a search through the alias finds."""
    with open_client() as client:
        answer = client.collections.use(alias).query.near_vector([0.0, 1.0], limit=1)
        return str(answer.objects[0].properties["text"])


def test_an_alias_moves_to_the_newest_collection_and_back_in_one_call_each(
    serving: Path, tmp_path: Path
) -> None:
    old = build(tmp_path, "old")
    new = build(tmp_path, "new")
    point_alias("Moves", old)
    assert find_text("Moves") == "old"
    assert alias_state("Moves") == (old, None)
    point_alias("Moves", new)
    assert find_text("Moves") == "new"
    assert alias_state("Moves") == (new, old)
    point_alias("Moves", new)
    assert alias_state("Moves") == (new, old)
    assert move_alias_back("Moves") == (old, new)
    assert find_text("Moves") == "old"
    move_alias_back("Moves")
    assert find_text("Moves") == "new"


def test_a_withheld_alias_is_gone_and_is_restored_even_after_an_error(
    serving: Path, tmp_path: Path
) -> None:
    old = build(tmp_path, "calm")
    new = build(tmp_path, "calmer")
    point_alias("Out", old)
    point_alias("Out", new)
    with suppress(RuntimeError), withhold_alias("Out"):
        assert alias_state("Out") == (None, old)
        raise RuntimeError
    assert alias_state("Out") == (new, old)
    assert find_text("Out") == "calmer"


def test_without_a_previous_collection_going_back_is_refused(serving: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the alias Alone has no previous collection"):
        move_alias_back("Alone")
    point_alias("Alone", build(tmp_path, "alone"))
    with pytest.raises(UserError, match="the alias Alone has no previous collection"):
        move_alias_back("Alone")
    assert find_text("Alone") == "alone"


def test_collections_that_an_alias_names_outlive_the_retention_of_the_others(clone: Path) -> None:
    with hold_server():
        first = build(clone, "first")
        second = build(clone, "second")
        point_alias("Live", first)
        point_alias("Live", second)
        for text in ("third", "fourth", "fifth"):
            last = build(clone, text, keep=1)
        with open_client() as client:
            collections = stored_collections.list_stored(client)
        names = {stored_collections.content_name(item.digest or "") for item in collections}
        assert names == {first, second, last}
        move_alias_back("Live")
        assert find_text("Live") == "first"


def test_an_alias_stays_as_it_is_if_the_collection_is_not_there(
    serving: Path, tmp_path: Path
) -> None:
    point_alias("Stays", build(tmp_path, "stays"))
    with pytest.raises(
        UserError, match="Weaviate has no collection Chunks_000000000000, so Stays stays as it is"
    ):
        point_alias("Stays", "Chunks_000000000000")
    assert find_text("Stays") == "stays"


def test_a_removed_alias_names_nothing_and_removing_it_again_is_not_an_error(
    serving: Path, tmp_path: Path
) -> None:
    point_alias("Goes", build(tmp_path, "goes"))
    remove_alias("Goes")
    remove_alias("Goes")
    assert alias_state("Goes") == (None, None)


def test_a_reader_says_what_is_behind_an_alias_as_soon_as_it_is_moved(
    serving: Path, tmp_path: Path
) -> None:
    reader = AliasReader()
    assert reader.read_content("Read") is None
    point_alias("Read", build(tmp_path, "first"))
    with ThreadPoolExecutor(8) as pool:
        contents = set(pool.map(lambda _: reader.read_content("Read"), range(32)))
    assert len(contents) == 1
    (first,) = contents
    point_alias("Read", build(tmp_path, "second"))
    assert reader.read_content("Read") not in (first, None)
    move_alias_back("Read")
    assert reader.read_content("Read") == first
    reader.close()
    assert reader.read_content("Read") == first, "it connects again"
    reader.close()


def test_a_reader_connects_anew_after_a_failure(serving: Path, tmp_path: Path) -> None:
    point_alias("Again", build(tmp_path, "again"))
    reader = AliasReader()
    content = reader.read_content("Again")
    assert content is not None
    client = reader._client
    assert client is not None
    client.close()  # as if the server had gone
    with pytest.raises(Unreachable, match="does not say what Again names"):
        reader.read_content("Again")
    assert reader.read_content("Again") == content
    reader.close()


def test_a_reader_without_a_server_says_so(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEAVIATE_URL", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="cannot be reached"):
        AliasReader().read_content("Read")
