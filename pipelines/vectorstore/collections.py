"""Weaviate collections: built beside the others, verified against the versioned files, searched through their receipt.

A receipt names its collection by the content's digest. Weaviate keeps that name as an alias of a place (places.py), which loading.py
brings from the content that it had to the new one. So a build costs what changed, and a spare for the next one is always there.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines import files, place
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.errors import UserError
from pipelines.vectorstore import loading, places
from pipelines.vectorstore.loading import Change
from pipelines.vectorstore.places import Place
from pipelines.vectorstore.server import session

if TYPE_CHECKING:
    from weaviate import WeaviateClient

Vector = npt.NDArray[np.float32]


class Passage(NamedTuple):
    """One hit, in the order of the hybrid search. `similarity` is the cosine with the question; `pages` are the numbers of the pages that it lies on, where there are pages."""

    chunk_id: str
    uri: str
    headings: list[str]
    text: str
    similarity: float
    pages: tuple[int, ...] = ()


def build(chunks: Path, vectors: Path, *, keep: int, sample: int, hybrid_alpha: float) -> Receipt:
    """The collection of these chunks and vectors, made where it is not there yet, and the older ones beyond `keep` removed."""
    facts = files.metadata(vectors)
    encoder = Encoder(model=facts["encoder_model"], revision=facts["encoder_revision"] or None, digest=facts["encoder_digest"], precision="bf16" if facts["precision"] == "bf16" else "fp32")
    digests = {"chunks_digest": files.digest(chunks), "vectors_digest": files.digest(vectors)}
    content = files.text_digest("/".join([*digests.values(), encoder.digest]))
    with session() as client, _alone():
        receipt = Receipt(
            collection=places.content_name(content), digest=content, num_objects=files.count(chunks), dimensions=int(facts["dimensions"]),
            encoder=encoder, hybrid_alpha=hybrid_alpha, server_version=str(client.get_meta()["version"]), **digests,
        )  # fmt: skip
        _ensure(client, receipt, chunks, vectors, sample, keep)
        _make_spares(client, receipt, chunks, vectors, keep)
        for name in places.retire(client, receipt.digest, keep):
            print(f"{name}: removed (index.keep)")
        for name in places.remove_unfinished(client):
            print(f"{name}: removed (a build did not finish it)")
    return receipt


@contextmanager
def opened(receipt: Receipt, chunks: Path, vectors: Path, sample: int = 64) -> Iterator["Index"]:
    """The live collection of a receipt. Rebuilt from the versioned files where it is missing or differs; never another one's answers."""
    if receipt.chunks_digest != files.digest(chunks) or receipt.vectors_digest != files.digest(vectors):
        raise UserError(f"the receipt of {receipt.collection} was made from other files than {chunks} and {vectors}: `dvc repro index`")
    with session() as client:
        with _alone():
            _ensure(client, receipt, chunks, vectors, sample)
        yield Index(client, receipt)


def missing(receipt: Receipt) -> str | None:
    """Why the collection of a receipt cannot be used as it is (absent or unfinished, another count), or None."""
    with session() as client:
        held = places.holding(client, receipt.digest)
        if held is None or places.named(client, receipt.collection) != held.name:
            return "it is not there"
        collection = client.collections.use(held.name)
        count = collection.aggregate.over_all(total_count=True).total_count
        return loading.unsearchable(collection) if count == receipt.num_objects else f"it holds {count} objects instead of {receipt.num_objects}"


@contextmanager
def _alone() -> Iterator[None]:
    """One process of this clone at a time fills and verifies collections: the next one finds them finished."""
    path = place.shared_state() / "weaviate/build.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Index:
    """A verified collection, held by an open connection."""

    def __init__(self, client: "WeaviateClient", receipt: Receipt):
        self._collection = client.collections.use(receipt.collection)
        self.receipt = receipt

    def search(self, question: str, vector: Vector, limit: int) -> list[Passage]:
        """The `limit` passages that answer best to the question's words (BM25) and to its unit vector, best first.

        Both scores are scaled to 0..1 over the candidates and added with the weight of the receipt's `hybrid_alpha` (Weaviate's relative score fusion).
        """
        from weaviate.classes.query import HybridFusion

        found = self._collection.query.hybrid(
            question, vector=vector.tolist(), alpha=self.receipt.hybrid_alpha, fusion_type=HybridFusion.RELATIVE_SCORE, query_properties=["text"], limit=limit, include_vector=True
        )
        return [_passage(hit, vector) for hit in found.objects]


def _passage(hit: Any, vector: Vector) -> Passage:
    held = hit.properties
    return Passage(held["chunk_id"], held["uri"], list(held["headings"]), held["text"], float(np.dot(hit.vector["default"], vector)), tuple(held["pages"] or ()))


def _ensure(client: "WeaviateClient", receipt: Receipt, chunks: Path, vectors: Path, sample: int, keep: int | None = None) -> None:
    """Make the collection true: written where it is missing, unfinished or not what the files say; verified. With `keep`, the oldest place may be overwritten."""
    held = places.holding(client, receipt.digest)
    if held and loading.difference(client, held.name, chunks, vectors, receipt.dimensions, sample) is None:
        if keep is not None or places.named(client, receipt.collection) != held.name:
            places.renew(client, held.name, receipt.digest)
        print(f"{receipt.collection}: there and verified ({receipt.num_objects} objects)")
        return
    reused = places.reusable(client, keep)
    change = _write(client, receipt, chunks, vectors, sample, None if reused == held else reused)  # what is wrong with `held` would stay in it
    if held:
        places.remove(client, held)
    told = f"{change.kept} objects kept, {change.written} written, {change.removed} removed" if change.kept else f"{receipt.num_objects} objects written"
    print(f"{receipt.collection}: {told} and verified")


def _write(client: "WeaviateClient", receipt: Receipt, chunks: Path, vectors: Path, sample: int, reused: Place | None) -> Change:
    """Bring a place to what the files say, verify it and give it its name; a new place where there is none that is whole and has much in common."""
    if reused and reused.digest:
        print(f"{places.content_name(reused.digest)}: removed (index.keep)")
    if reused and loading.differs_much(client, reused.name, chunks, vectors, receipt.dimensions):
        places.remove(client, reused)
        reused = None
    name = reused.name if reused else places.create(client)
    mark = places.claim(client, name)
    try:
        change = loading.load(client, name, chunks, vectors, receipt.dimensions)
        problem = loading.difference(client, name, chunks, vectors, receipt.dimensions, sample)
        if problem and reused:  # it was damaged before
            client.collections.delete(name)
            return _write(client, receipt, chunks, vectors, sample, None)
        if problem:
            raise UserError(f"Weaviate did not keep what was written to {receipt.collection}: {problem}. Run the same command again; see `.state/weaviate/server.log`")
    except UserError:
        client.collections.delete(name)
        raise
    places.finish(client, name, mark, receipt.digest)
    return change


def _make_spares(client: "WeaviateClient", receipt: Receipt, chunks: Path, vectors: Path, keep: int) -> None:
    """Fill as many places as stay, so that the next builds change one each instead of writing everything."""
    missing = keep - len(places.whole(client))
    for _ in range(missing):
        name = places.create(client)
        loading.load(client, name, chunks, vectors, receipt.dimensions)
        places.spare(client, name)
    if missing > 0:
        print(f"{missing} spare collections filled, for the next builds to change")
