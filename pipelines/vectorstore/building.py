"""Index builds: collections made beside the others and verified against the versioned files.

A receipt names its collection by the content's digest. Weaviate keeps that name as an alias of a
stored collection (stored_collections.py). An exact one is written from nothing by every build. A
larger one is changed by loading.py from its earlier content to the new one: such a build costs what
changed, and a spare for the next one is always there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.errors import UserError
from pipelines.runtime import readers
from pipelines.vectorstore import loading, stored_collections, verification
from pipelines.vectorstore.loading import Change
from pipelines.vectorstore.objects import IndexFiles
from pipelines.vectorstore.search import Index
from pipelines.vectorstore.stored_collections import StoredCollection
from pipelines.vectorstore.weaviate_client import open_client

if TYPE_CHECKING:
    from weaviate import WeaviateClient


def build_index(
    chunks: Path, vectors: Path, *, keep: int, sample: int, hybrid_alpha: float
) -> Receipt:
    """The collection of these chunks and vectors, built if it is not there yet.

    `sample` objects are verified. Older collections beyond `keep` are removed.
    """
    with open_client() as client, stored_collections.lock_builds():
        version = str(client.get_meta()["version"])
        receipt = _make_receipt(chunks, vectors, hybrid_alpha, version)
        source = IndexFiles(chunks, vectors, receipt.dimensions)
        _ensure(client, receipt, source, sample, keep)
        _fill_spares(client, source, keep)
        for name in stored_collections.retire(client, receipt.digest, keep):
            print(f"{name}: removed (index.keep)")
        for name in stored_collections.remove_unfinished(client):
            print(f"{name}: removed (a build did not finish it)")
    return receipt


@contextmanager
def open_index(receipt: Receipt, chunks: Path, vectors: Path, sample: int = 64) -> Iterator[Index]:
    """The live collection of a receipt.

    It is rebuilt from the versioned files if it is missing or differs from them; it never answers
    with another collection's passages. Raises UserError if the receipt belongs to other files.
    """
    digests = (files.digest(chunks), files.digest(vectors))
    if digests != (receipt.chunks_digest, receipt.vectors_digest):
        raise UserError(
            f"the receipt of {receipt.collection} was made from other files than {chunks} and "
            f"{vectors}: `dvc repro index`"
        )
    with open_client() as client:
        with stored_collections.lock_builds():
            source = IndexFiles(chunks, vectors, receipt.dimensions)
            _ensure(client, receipt, source, sample, keep=None)
        yield Index(client, receipt)


def index_problem(receipt: Receipt) -> str | None:
    """Why the collection of a receipt cannot be used as it is, or None.

    It is absent or unfinished, has another count (unless passages of it were erased), or cannot be
    searched by vector.
    """
    with open_client() as client:
        existing = stored_collections.find_content(client, receipt.digest)
        target = stored_collections.resolve(client, receipt.collection)
        if existing is None or target != existing.name:
            return "it is not there"
        if existing.is_partial:
            return None
        collection = client.collections.use(existing.name)
        count = collection.aggregate.over_all(total_count=True).total_count
        if count != receipt.num_objects:
            return f"it holds {count} objects instead of {receipt.num_objects}"
        return verification.find_search_problem(collection)


def _make_receipt(chunks: Path, vectors: Path, hybrid_alpha: float, server_version: str) -> Receipt:
    facts = files.metadata(vectors)
    encoder = Encoder(
        model=facts["encoder_model"],
        revision=facts["encoder_revision"] or None,
        licence=facts.get("encoder_licence") or None,
        digest=facts["encoder_digest"],
        engine="openvino" if facts.get("engine") == "openvino" else "torch",
        precision="bf16" if facts["precision"] == "bf16" else "fp32",
    )
    chunks_digest = files.digest(chunks)
    vectors_digest = files.digest(vectors)
    digest = files.text_digest(f"{chunks_digest}/{vectors_digest}/{encoder.digest}")
    return Receipt(
        collection=stored_collections.content_name(digest),
        digest=digest,
        num_objects=files.count(chunks),
        dimensions=int(facts["dimensions"]),
        encoder=encoder,
        chunks_digest=chunks_digest,
        vectors_digest=vectors_digest,
        hybrid_alpha=hybrid_alpha,
        num_restricted=_count_restricted(chunks),
        server_version=server_version,
    )


def _count_restricted(chunks: Path) -> int:
    count = 0
    for batch in files.batches(chunks, CHUNKS, columns=[readers.PROPERTY]):
        for names in batch.column(readers.PROPERTY).to_pylist():
            count += not readers.is_public(names)
    return count


def _ensure(
    client: "WeaviateClient", receipt: Receipt, source: IndexFiles, sample: int, keep: int | None
) -> None:
    """Write and verify the collection if it is missing, unfinished or not what the files say.

    With `keep`, the oldest collection may be overwritten.
    """
    existing = stored_collections.find_content(client, receipt.digest)
    if existing and existing.is_partial:
        print(f"{receipt.collection}: used as it is: passages of it were erased")
        return
    if existing and not _find_difference(client, existing, source, sample):
        target = stored_collections.resolve(client, receipt.collection)
        if keep is not None or target != existing.name:
            stored_collections.mark_newest(client, existing.name, receipt.digest)
        print(f"{receipt.collection}: there and verified ({receipt.num_objects} objects)")
        return
    reusable = stored_collections.find_reusable(client, keep)
    is_exact = stored_collections.must_be_exact(source.num_objects)
    if is_exact or reusable == existing:  # what is wrong with it would stay in it
        reusable = None
    change = _write(client, receipt, source, sample, reusable)
    if existing:
        stored_collections.remove(client, existing)
    print(f"{receipt.collection}: {_describe(change)} and verified")


def _find_difference(
    client: "WeaviateClient", collection: StoredCollection, source: IndexFiles, sample: int
) -> str | None:
    """What is wrong with a finished collection, or None."""
    if collection.is_exact != stored_collections.must_be_exact(source.num_objects):
        return "its vectors are indexed in another way"
    return verification.find_difference(client, collection.name, source, sample)


def _describe(change: Change) -> str:
    if not change.num_kept:
        return f"{change.num_written} objects written"
    return (
        f"{change.num_kept} objects kept, {change.num_written} written, "
        f"{change.num_removed} removed"
    )


def _write(
    client: "WeaviateClient",
    receipt: Receipt,
    source: IndexFiles,
    sample: int,
    reusable: StoredCollection | None,
) -> Change:
    """Bring a collection to what the files say, verify it and give it its name.

    That is `reusable` if it is intact and has much in common with the files, else a new one.
    """
    if reusable and reusable.digest:
        print(f"{stored_collections.content_name(reusable.digest)}: removed (index.keep)")
    if reusable and loading.differs_much(client, reusable.name, source):
        stored_collections.remove(client, reusable)
        reusable = None
    name = reusable.name if reusable else stored_collections.create(client, source.num_objects)
    mark = stored_collections.claim(client, name)
    try:
        change = loading.load(client, name, source)
        problem = verification.find_difference(client, name, source, sample)
        if problem and not reusable:
            raise UserError(
                f"Weaviate did not keep what was written to {receipt.collection}: {problem}. "
                "Run the same command again; see `.state/weaviate/server.log`"
            )
    except UserError:
        client.collections.delete(name)
        raise
    if problem:  # the reused collection was damaged before
        client.collections.delete(name)
        return _write(client, receipt, source, sample, reusable=None)
    stored_collections.finish(client, name, mark, receipt.digest)
    return change


def _fill_spares(client: "WeaviateClient", source: IndexFiles, keep: int) -> None:
    """Fill as many collections as stay, so that the next builds change one each.

    Without a spare they would write everything, as they do anyway if the collection is exact.
    """
    if stored_collections.must_be_exact(source.num_objects):
        return
    num_missing = keep - len(stored_collections.list_complete(client))
    for _ in range(num_missing):
        name = stored_collections.create(client, source.num_objects)
        loading.load(client, name, source)
        stored_collections.mark_spare(client, name)
    if num_missing > 0:
        print(f"{num_missing} spare collections filled, for the next builds to change")
