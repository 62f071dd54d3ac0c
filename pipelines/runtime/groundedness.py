"""Measures how well an answer is grounded in its passages, as evaluate does."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import comparison

# After one answer's sentences are encoded, no other answer's are for this many times as long, so
# that questions mostly have the encoder to themselves.
REST_FACTOR = 2.0
MAX_VECTORS = 50_000  # vectors of sentences in memory: 77 MB at 384 dimensions


class Groundedness:
    """Measures one answer at a time, and not every answer: questions come first."""

    def __init__(self, encode: Callable[[list[str]], Any], min_similarity: float):
        self._encode = encode
        self._min_similarity = min_similarity
        self._is_free = threading.Semaphore(1)
        self._rest_end = 0.0  # monotonic time at which the encoder may be used again
        self._vectors: dict[str, Any] = {}

    def measure(self, answer: str, passages: list[str]) -> float | None:
        """Share of the answer's sentences that are near a sentence of a passage.

        None if there is nothing to compare with, or if the encoder must rest.
        """
        sources: list[str] = []
        for passage in passages:
            sources += comparison.sentences(passage)
        if not sources or time.monotonic() < self._rest_end:
            return None
        if not self._is_free.acquire(blocking=False):
            return None
        start = time.monotonic()
        try:
            return self._share_near(comparison.sentences(answer), sources)
        finally:
            self._rest_end = time.monotonic() + REST_FACTOR * (time.monotonic() - start)
            self._is_free.release()

    def _share_near(self, claims: list[str], sources: list[str]) -> float:
        self._learn({*claims, *sources})
        claim_vectors = np.stack([self._vectors[claim] for claim in claims])
        source_vectors = np.stack([self._vectors[source] for source in sources])
        best = (claim_vectors @ source_vectors.T).max(axis=1)
        return float((best >= self._min_similarity).mean())

    def _learn(self, sentences: set[str]) -> None:
        """Encode the sentences whose vectors are not in memory."""
        missing = sorted(sentences - set(self._vectors))
        if len(self._vectors) + len(missing) > MAX_VECTORS:
            self._vectors.clear()
            missing = sorted(sentences)
        if missing:
            self._vectors.update(zip(missing, self._encode(missing), strict=True))
