"""Knows near-duplicates: of documents whose word 5-grams are nearly the same, one is kept and the others are its aliases."""

from collections.abc import Iterable
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from pipelines.corpus.reading import NUM_PERMUTATIONS, SCHEME

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

HIGHEST_THRESHOLD = 0.95  # that the index can be made for with so few permutations; what it finds is compared once more


class Candidate(NamedTuple):
    """A document as the comparison needs it."""

    uri: str
    digest: str  # of its text
    signature: str  # as reading.py makes it


def aliases(candidates: Iterable[Candidate], similarity: float) -> dict[str, str]:
    """uri -> uri of the document that stands for it, for every document that is left out.

    `similarity` is the estimated Jaccard similarity of two documents' word 5-grams from which they count as one. Documents
    are compared in the order of their uris, each with those kept before it, so that the first one stays.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=min(similarity, HIGHEST_THRESHOLD), num_perm=NUM_PERMUTATIONS)
    permutations = MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme=SCHEME).permutations  # made once: drawing them anew takes longer than the rest
    signatures: dict[str, MinHash] = {}
    same_text: dict[str, str] = {}
    found: dict[str, str] = {}
    ordered = sorted(candidates)
    numbers = _numbers(ordered)
    for candidate, hashes in compress(zip(ordered, numbers, strict=True), _share_a_band(numbers, index.hashranges)):
        if candidate.digest in same_text:
            found[candidate.uri] = same_text[candidate.digest]
            continue
        made = MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme=SCHEME, hashvalues=hashes, permutations=permutations)
        near = sorted(uri for uri in index.query(made) if signatures[uri].jaccard(made) >= similarity)
        if near:
            found[candidate.uri] = near[0]
            same_text[candidate.digest] = near[0]
            continue
        index.insert(candidate.uri, made)
        signatures[candidate.uri] = made
        same_text[candidate.digest] = candidate.uri
    return found


def _numbers(candidates: list[Candidate]) -> "npt.NDArray[np.uint32]":
    """The signatures as numbers, shape (candidates, NUM_PERMUTATIONS)."""
    import numpy as np

    return np.frombuffer(bytes.fromhex("".join(candidate.signature for candidate in candidates)), dtype="<u4").reshape(-1, NUM_PERMUTATIONS)


def _share_a_band(numbers: "npt.NDArray[np.uint32]", bands: list[tuple[int, int]]) -> "npt.NDArray[np.bool_]":
    """Which signatures have a band, columns [start, end), in common with another one. The index compares no others, so they need not be put into it: it takes 50 times as long."""
    import numpy as np

    found = np.zeros(len(numbers), dtype=bool)
    for start, end in bands:
        band = np.ascontiguousarray(numbers[:, start:end]).view(f"V{numbers.itemsize * (end - start)}").ravel()
        _, which, counts = np.unique(band, return_inverse=True, return_counts=True)
        found |= counts[which] > 1
    return found
