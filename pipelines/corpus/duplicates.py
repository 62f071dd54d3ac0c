"""Near-duplicates: of documents with nearly the same word 5-grams, one stands for the rest."""

from collections.abc import Iterable
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.corpus.reading import NUM_PERMUTATIONS, SCHEME

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# The index cannot be built for a higher threshold with so few permutations. What it finds is
# compared once more.
MAX_THRESHOLD = 0.95


class Candidate(NamedTuple):
    """A document as the comparison needs it."""

    uri: str
    digest: str  # of its text
    signature: str  # of reading.py


def find_aliases(candidates: Iterable[Candidate], similarity: float) -> dict[str, str]:
    """uri -> uri of the document that stands for it, for every document that is left out.

    Two documents count as one from this estimated Jaccard similarity of their word 5-grams.
    Documents are compared in the order of their uris, each with those before it that stay.
    """
    from datasketch import MinHash, MinHashLSH

    threshold = min(similarity, MAX_THRESHOLD)
    index = MinHashLSH(threshold=threshold, num_perm=NUM_PERMUTATIONS)
    permutations = _draw_permutations()
    signatures: dict[str, MinHash] = {}  # of the documents that stay
    originals: dict[str, str] = {}  # digest of a text -> uri of the document that stands for it
    aliases: dict[str, str] = {}
    for candidate, hashes in _comparable(candidates, index.hashranges):
        if candidate.digest in originals:
            aliases[candidate.uri] = originals[candidate.digest]
            continue
        signature = _min_hash(hashes, permutations)
        neighbours = index.query(signature)
        near = [uri for uri in neighbours if signatures[uri].jaccard(signature) >= similarity]
        if near:
            aliases[candidate.uri] = min(near)
        else:
            index.insert(candidate.uri, signature)
            signatures[candidate.uri] = signature
        originals[candidate.digest] = aliases.get(candidate.uri, candidate.uri)
    return aliases


def _draw_permutations() -> Any:
    """Drawn once for all signatures: drawing them takes longer than everything else."""
    from datasketch import MinHash

    return MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme=SCHEME).permutations


def _min_hash(hashes: "npt.NDArray[np.uint32]", permutations: Any) -> Any:
    from datasketch import MinHash

    return MinHash(
        num_perm=NUM_PERMUTATIONS,
        seed=1,
        scheme=SCHEME,
        hashvalues=hashes,
        permutations=permutations,
    )


def _comparable(
    candidates: Iterable[Candidate], bands: list[tuple[int, int]]
) -> "Iterable[tuple[Candidate, npt.NDArray[np.uint32]]]":
    """Candidates with their hashes, by uri, without those that the index would not compare."""
    by_uri = sorted(candidates)
    numbers = _signature_numbers(by_uri)
    return compress(zip(by_uri, numbers, strict=True), _share_a_band(numbers, bands))


def _signature_numbers(candidates: list[Candidate]) -> "npt.NDArray[np.uint32]":
    """The signatures as numbers, shape (candidates, NUM_PERMUTATIONS)."""
    import numpy as np

    digits = "".join(candidate.signature for candidate in candidates)
    numbers = np.frombuffer(bytes.fromhex(digits), dtype="<u4")
    return numbers.reshape(-1, NUM_PERMUTATIONS)


def _share_a_band(
    numbers: "npt.NDArray[np.uint32]", bands: list[tuple[int, int]]
) -> "npt.NDArray[np.bool_]":
    """Which signatures have a band, columns [start, end), in common with another signature.

    The index compares no others, so they need not be inserted: insertion takes 50 times as long.
    """
    import numpy as np

    is_shared = np.zeros(len(numbers), dtype=bool)
    for start, end in bands:
        columns = np.ascontiguousarray(numbers[:, start:end])
        band = columns.view(f"V{numbers.itemsize * (end - start)}").ravel()
        _, groups, counts = np.unique(band, return_inverse=True, return_counts=True)
        is_shared |= counts[groups] > 1
    return is_shared
