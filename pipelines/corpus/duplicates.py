"""Knows near-duplicates: of documents whose word 5-grams are nearly the same, one is kept and the others are its aliases."""

from collections.abc import Iterable
from typing import NamedTuple

from pipelines.corpus.reading import NUM_PERMUTATIONS, SCHEME

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
    import numpy as np
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=min(similarity, HIGHEST_THRESHOLD), num_perm=NUM_PERMUTATIONS)
    permutations = MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme=SCHEME).permutations  # made once: drawing them anew takes longer than the rest
    signatures: dict[str, MinHash] = {}
    same_text: dict[str, str] = {}
    found: dict[str, str] = {}
    for candidate in sorted(candidates):
        if candidate.digest in same_text:
            found[candidate.uri] = same_text[candidate.digest]
            continue
        made = MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme=SCHEME, hashvalues=np.frombuffer(bytes.fromhex(candidate.signature), dtype="<u4"), permutations=permutations)
        near = sorted(uri for uri in index.query(made) if signatures[uri].jaccard(made) >= similarity)
        if near:
            found[candidate.uri] = near[0]
            same_text[candidate.digest] = near[0]
            continue
        index.insert(candidate.uri, made)
        signatures[candidate.uri] = made
        same_text[candidate.digest] = candidate.uri
    return found
