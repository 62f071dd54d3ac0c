from pathlib import Path

import pytest

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.errors import UserError
from pipelines.vectorstore import aliases, collections, server

FACTS = {"encoder_model": "mini", "encoder_revision": "", "encoder_digest": "e1", "precision": "fp32", "dimensions": "2"}


def built(folder: Path, text: str, keep: int = 9) -> tuple[Receipt, Path, Path]:
    """A collection of one passage with this text, and its files."""
    row = {"chunk_id": "c-0", "doc_id": "c", "uri": "book/a.md", "title": "", "headings": [], "text": text, "start": 0, "end": 9, "pages": [], "num_tokens": 1, "digest": text}
    chunks, vectors = folder / f"{text}-chunks.parquet", folder / f"{text}-vectors.parquet"
    files.write(chunks, CHUNKS, [row])
    files.write(vectors, schema_of(2).with_metadata(FACTS), [{"chunk_id": "c-0", "vector": [0.0, 1.0]}])
    return collections.build(chunks, vectors, keep=keep, sample=1), chunks, vectors


def seen(alias: str) -> str:
    """The text that a search through the alias finds."""
    with server.session() as client:
        return str(client.collections.use(alias).query.near_vector([0.0, 1.0], limit=1).objects[0].properties["text"])


def test_an_alias_moves_to_the_newest_collection_and_back_in_one_call_each(serving: Path, tmp_path: Path) -> None:
    old, new = built(tmp_path, "old"), built(tmp_path, "new")
    aliases.point("Moves", *old, sample=1)
    assert (seen("Moves"), aliases.state("Moves")) == ("old", (old[0].collection, None))
    aliases.point("Moves", *new, sample=1)
    assert (seen("Moves"), aliases.state("Moves")) == ("new", (new[0].collection, old[0].collection))
    aliases.point("Moves", *new, sample=1)
    assert aliases.state("Moves") == (new[0].collection, old[0].collection)
    assert aliases.back("Moves") == (old[0].collection, new[0].collection)
    assert seen("Moves") == "old"
    aliases.back("Moves")
    assert seen("Moves") == "new"


def test_without_a_previous_collection_going_back_is_refused(serving: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the alias Alone has no previous collection"):
        aliases.back("Alone")
    aliases.point("Alone", *built(tmp_path, "alone"), sample=1)
    with pytest.raises(UserError, match="the alias Alone has no previous collection"):
        aliases.back("Alone")
    assert seen("Alone") == "alone"


def test_collections_that_an_alias_names_outlive_the_retention_of_the_others(clone: Path) -> None:
    with server.held():
        first, second = built(clone, "first"), built(clone, "second")
        aliases.point("Live", *first, sample=1)
        aliases.point("Live", *second, sample=1)
        for text in ("third", "fourth", "fifth"):
            last, _, _ = built(clone, text, keep=1)
        with server.session() as client:
            assert set(client.collections.list_all()) == {first[0].collection, second[0].collection, last.collection}
        aliases.back("Live")
        assert seen("Live") == "first"


def test_a_collection_that_is_gone_is_rebuilt_before_the_alias_names_it(serving: Path, tmp_path: Path) -> None:
    made = built(tmp_path, "again")
    with server.session() as client:
        client.collections.delete(made[0].collection)
    aliases.point("Rebuilt", *made, sample=1)
    assert seen("Rebuilt") == "again"
