"""Weaviate collections: built beside the others, verified against the versioned files, searched through their receipt."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines import files, place
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.errors import UserError
from pipelines.vectorstore.server import session

if TYPE_CHECKING:
    from weaviate import WeaviateClient

Vector = npt.NDArray[np.float32]
PREFIX = "Chunks_"
UNFINISHED = "unfinished"  # in a collection's description until every object is in it and verified


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
            collection=PREFIX + content[:12], digest=content, num_objects=sum(1 for _ in files.read(chunks, CHUNKS)), dimensions=int(facts["dimensions"]),
            encoder=encoder, hybrid_alpha=hybrid_alpha, server_version=str(client.get_meta()["version"]), **digests,
        )  # fmt: skip
        _ensure(client, receipt, chunks, vectors, sample)
        _retire(client, receipt.collection, keep)
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
    """Why the collection of a receipt cannot be used as it is (absent, unfinished, another count), or None."""
    with session() as client:
        if not client.collections.exists(receipt.collection):
            return "it is not there"
        collection = client.collections.use(receipt.collection)
        if collection.config.get().description != receipt.digest:
            return "it was left unfinished"
        count = collection.aggregate.over_all(total_count=True).total_count
        return None if count == receipt.num_objects else f"it holds {count} objects instead of {receipt.num_objects}"


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


def _ensure(client: "WeaviateClient", receipt: Receipt, chunks: Path, vectors: Path, sample: int) -> None:
    """Make the collection true: fill it where it is missing, unfinished or not what the files say; verify it."""
    if client.collections.exists(receipt.collection):
        if _differences(client, receipt, vectors, sample) is None:
            print(f"{receipt.collection}: there and verified ({receipt.num_objects} objects)")
            return
        client.collections.delete(receipt.collection)
    _fill(client, receipt, chunks, vectors)
    problem = _differences(client, receipt, vectors, sample, finished=False)
    if problem:
        client.collections.delete(receipt.collection)
        raise UserError(f"Weaviate did not keep what was written to {receipt.collection}: {problem}. Run the same command again; see `.state/weaviate/server.log`")
    client.collections.use(receipt.collection).config.update(description=receipt.digest)
    print(f"{receipt.collection}: {receipt.num_objects} objects written and verified")


def _fill(client: "WeaviateClient", receipt: Receipt, chunks: Path, vectors: Path) -> None:
    from weaviate.classes.config import Configure, DataType, Property, Tokenization, VectorDistances
    from weaviate.util import generate_uuid5

    exact: dict[str, Any] = {"tokenization": Tokenization.FIELD}
    client.collections.create(
        receipt.collection, description=UNFINISHED, vector_config=Configure.Vectors.self_provided(vector_index_config=Configure.VectorIndex.hnsw(distance_metric=VectorDistances.COSINE)),
        properties=[
            Property(name="chunk_id", data_type=DataType.TEXT, **exact), Property(name="uri", data_type=DataType.TEXT, **exact), Property(name="title", data_type=DataType.TEXT),
            Property(name="headings", data_type=DataType.TEXT_ARRAY), Property(name="text", data_type=DataType.TEXT),
            Property(name="start", data_type=DataType.INT), Property(name="end", data_type=DataType.INT), Property(name="pages", data_type=DataType.INT_ARRAY),
        ],
    )  # fmt: skip
    collection = client.collections.use(receipt.collection)
    rows = zip(files.read(chunks, CHUNKS), files.read(vectors, schema_of(receipt.dimensions)), strict=True)
    with collection.batch.stream() as batch:
        for chunk, vector in rows:
            assert chunk["chunk_id"] == vector["chunk_id"], "chunks and vectors are in different orders"
            held = {name: chunk[name] for name in ("chunk_id", "uri", "title", "headings", "text", "start", "end", "pages")}
            batch.add_object(properties=held, vector=vector["vector"], uuid=generate_uuid5(chunk["chunk_id"]))
    if collection.batch.failed_objects:
        first = collection.batch.failed_objects[0]
        client.collections.delete(receipt.collection)
        raise UserError(f"Weaviate refused {len(collection.batch.failed_objects)} objects of {receipt.collection}; the first: {first.message}")


def _differences(client: "WeaviateClient", receipt: Receipt, vectors: Path, sample: int, finished: bool = True) -> str | None:
    """What is wrong with the live collection: unfinished, another count, or a sampled vector that is not the file's. None when nothing is."""
    from weaviate.util import generate_uuid5

    collection = client.collections.use(receipt.collection)
    if finished and collection.config.get().description != receipt.digest:
        return "it was left unfinished"
    count = collection.aggregate.over_all(total_count=True).total_count
    if count != receipt.num_objects:
        return f"it holds {count} objects instead of {receipt.num_objects}"
    step = max(1, receipt.num_objects // sample)
    for number, row in enumerate(files.read(vectors, schema_of(receipt.dimensions))):
        if number % step == 0:
            stored = collection.query.fetch_object_by_id(generate_uuid5(row["chunk_id"]), include_vector=True)
            if stored is None or not np.allclose(stored.vector["default"], row["vector"], atol=1e-5):
                return f"{row['chunk_id']} is missing or has another vector"
    return None


def _retire(client: "WeaviateClient", newest: str, keep: int) -> None:
    """Remove the oldest of our collections, so that `keep` stay; the age is that of an object in each. What an alias names (a release's) stays."""
    named = {alias.collection for alias in client.alias.list_all().values()}
    ours = [name for name in client.collections.list_all(simple=True) if name.startswith(PREFIX) and name != newest and name not in named]
    order = {name: _created(client, name) for name in ours}
    for name in sorted(ours, key=lambda name: order[name], reverse=True)[keep - 1 :]:
        client.collections.delete(name)
        print(f"{name}: removed (index.keep)")


def _created(client: "WeaviateClient", name: str) -> int:
    """Milliseconds at which the collection's first objects were written; 0 for an empty one."""
    from weaviate.classes.query import MetadataQuery

    found = client.collections.use(name).query.fetch_objects(limit=1, return_metadata=MetadataQuery(creation_time=True)).objects
    return int(found[0].metadata.creation_time.timestamp() * 1000) if found else 0
