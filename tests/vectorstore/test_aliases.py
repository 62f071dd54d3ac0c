from contextlib import suppress
from pathlib import Path

import pytest

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.errors import UserError
from pipelines.vectorstore import aliases, collections, places, server

FACTS = {"encoder_model": "mini", "encoder_revision": "", "encoder_digest": "e1", "precision": "fp32", "dimensions": "2"}


def built(folder: Path, text: str, keep: int = 2) -> str:
    """A collection of one passage with this text; its name."""
    row = {"chunk_id": "c-0", "doc_id": "c", "uri": "book/a.md", "title": "", "headings": [], "text": text, "start": 0, "end": 9, "pages": [], "num_tokens": 1, "digest": text}
    chunks, vectors = folder / f"{text}-chunks.parquet", folder / f"{text}-vectors.parquet"
    files.write(chunks, CHUNKS, [row])
    files.write(vectors, schema_of(2).with_metadata(FACTS), [{"chunk_id": "c-0", "vector": [0.0, 1.0]}])
    return collections.build(chunks, vectors, keep=keep, sample=1, hybrid_alpha=0.7).collection


def seen(alias: str) -> str:
    """The text that a search through the alias finds."""
    with server.session() as client:
        return str(client.collections.use(alias).query.near_vector([0.0, 1.0], limit=1).objects[0].properties["text"])


def test_an_alias_moves_to_the_newest_collection_and_back_in_one_call_each(serving: Path, tmp_path: Path) -> None:
    old, new = built(tmp_path, "old"), built(tmp_path, "new")
    aliases.point("Moves", old)
    assert (seen("Moves"), aliases.state("Moves")) == ("old", (old, None))
    aliases.point("Moves", new)
    assert (seen("Moves"), aliases.state("Moves")) == ("new", (new, old))
    aliases.point("Moves", new)
    assert aliases.state("Moves") == (new, old)
    assert aliases.back("Moves") == (old, new)
    assert seen("Moves") == "old"
    aliases.back("Moves")
    assert seen("Moves") == "new"


def test_a_withheld_alias_is_gone_and_comes_back_as_it_was_also_after_an_error(serving: Path, tmp_path: Path) -> None:
    old, new = built(tmp_path, "calm"), built(tmp_path, "calmer")
    aliases.point("Out", old)
    aliases.point("Out", new)
    with suppress(RuntimeError), aliases.withheld("Out"):
        assert aliases.state("Out") == (None, old)
        raise RuntimeError
    assert aliases.state("Out") == (new, old)
    assert seen("Out") == "calmer"


def test_without_a_previous_collection_going_back_is_refused(serving: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the alias Alone has no previous collection"):
        aliases.back("Alone")
    aliases.point("Alone", built(tmp_path, "alone"))
    with pytest.raises(UserError, match="the alias Alone has no previous collection"):
        aliases.back("Alone")
    assert seen("Alone") == "alone"


def test_collections_that_an_alias_names_outlive_the_retention_of_the_others(clone: Path) -> None:
    with server.held():
        first, second = built(clone, "first"), built(clone, "second")
        aliases.point("Live", first)
        aliases.point("Live", second)
        for text in ("third", "fourth", "fifth"):
            last = built(clone, text, keep=1)
        with server.session() as client:
            assert {places.content_name(place.digest or "") for place in places.found(client)} == {first, second, last}
        aliases.back("Live")
        assert seen("Live") == "first"


def test_an_alias_stays_where_it_is_when_the_collection_is_not_there(serving: Path, tmp_path: Path) -> None:
    aliases.point("Stays", built(tmp_path, "stays"))
    with pytest.raises(UserError, match="Weaviate has no collection Chunks_000000000000, so Stays stays as it is"):
        aliases.point("Stays", "Chunks_000000000000")
    assert seen("Stays") == "stays"


def test_a_removed_alias_names_nothing_and_removing_it_again_is_no_error(serving: Path, tmp_path: Path) -> None:
    aliases.point("Goes", built(tmp_path, "goes"))
    aliases.remove("Goes")
    aliases.remove("Goes")
    assert aliases.state("Goes") == (None, None)
