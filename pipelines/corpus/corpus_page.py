"""The HTML page of a corpus: counts, lengths, rejections, redactions and a map of its passages."""

import bisect
import itertools
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.contracts.report import Report
from pipelines.corpus import losses
from pipelines.corpus.losses import Loss
from pipelines.pages import render

COLORS = (
    "#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f",
    "#57534e", "#1d4ed8",
)  # fmt: skip
MAX_ROWS = 200  # of a table
MAX_LOSSES = 30  # documents that lost most
NUM_EXTREMES = 5  # of the longest documents, and as many of the shortest
LENGTH_LIMITS = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)  # characters
MAP_SIZE = (960, 620)  # pixels
MAP_MARGIN = 15  # pixels
MIN_PASSAGES_FOR_MAP = 10  # distinct ones; fewer stand in a row

Counts = list[tuple[str, int]]


class Point(NamedTuple):
    """A passage on the map, in pixels."""

    x: float
    y: float
    source: str
    label: str


@dataclass(frozen=True)
class Corpus:
    """What the page shows.

    `documents` are rows without their text: uri, source, media_type, language, characters, aliases.
    `redaction` is the report of the stage `redact`.
    """

    documents: list[dict[str, Any]]
    rejections: list[dict[str, Any]]
    losses: list[Loss]  # worst first
    num_chunks: int
    points: list[Point]
    report: Report
    redaction: dict[str, Any]


def render_corpus(corpus: Corpus) -> str:
    """The page."""
    documents = corpus.documents
    finds = corpus.redaction["by_source"]
    duplicates = [row for row in documents if row["aliases"]]
    return render(
        "corpus.html.j2",
        num_documents=len(documents),
        num_chunks=corpus.num_chunks,
        num_aliases=sum(len(row["aliases"]) for row in duplicates),
        num_finds=_count_finds(finds),
        report=corpus.report,
        points=corpus.points,
        colors=_choose_colors(documents),
        map_size=MAP_SIZE,
        tables=_count_documents(documents),
        rejections=corpus.rejections,
        losses=corpus.losses,
        losses_by_kind=losses.by_kind(corpus.losses),
        duplicates=duplicates,
        finds=finds,
        extremes=_find_extremes(documents),
        max_rows=MAX_ROWS,
        max_losses=MAX_LOSSES,
    )


def _count_finds(counts_by_source: dict[str, dict[str, int]]) -> int:
    return sum(sum(counts.values()) for counts in counts_by_source.values())


def _choose_colors(documents: list[dict[str, Any]]) -> dict[str, str]:
    """A color for each source; they repeat after ten."""
    sources = set(map(itemgetter("source"), documents))
    return dict(zip(sorted(sources), itertools.cycle(COLORS), strict=False))


def _count_documents(documents: list[dict[str, Any]]) -> dict[str, Counts]:
    """The tables of documents by title."""
    return {
        "By source": _count_values(documents, "source"),
        "By format": _count_values(documents, "media_type"),
        "By language": _count_values(documents, "language"),
        "By length in characters": _count_lengths(documents),
    }


def _count_values(documents: list[dict[str, Any]], column: str) -> Counts:
    """How often each value occurs, the most frequent first."""
    counts = Counter(map(itemgetter(column), documents))
    return sorted(counts.items(), key=_most_frequent_first)


def _most_frequent_first(item: tuple[str, int]) -> tuple[int, str]:
    name, count = item
    return -count, name


def _count_lengths(documents: list[dict[str, Any]]) -> Counts:
    """How many documents have a length in each range; empty ranges are left out."""
    counts: Counter[int] = Counter()
    for row in documents:
        counts[bisect.bisect_right(LENGTH_LIMITS, row["characters"])] += 1
    return [(_name_range(number), count) for number, count in sorted(counts.items())]


def _name_range(number: int) -> str:
    if number == len(LENGTH_LIMITS):
        return f"{LENGTH_LIMITS[-1]:,} and more"
    return f"under {LENGTH_LIMITS[number]:,}"


def _find_extremes(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The longest and the shortest documents."""
    longest_first = sorted(documents, key=_longest_first)
    if len(longest_first) <= 2 * NUM_EXTREMES:
        return longest_first
    return longest_first[:NUM_EXTREMES] + longest_first[-NUM_EXTREMES:]


def _longest_first(row: dict[str, Any]) -> tuple[int, str]:
    return -row["characters"], row["uri"]


def lay_out(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float64]:
    """Pixels on the map, shape (passages, 2), at which similar passages are near each other.

    t-SNE (van der Maaten and Hinton 2008), initialized with the principal axes.
    """
    # t-SNE's library crashes if all points are the same.
    distinct_vectors, positions = np.unique(vectors, axis=0, return_inverse=True)
    if len(distinct_vectors) < MIN_PASSAGES_FOR_MAP:
        x = np.linspace(0, 1, len(distinct_vectors))
        layout = np.stack([x, np.full(len(distinct_vectors), 0.5)], axis=1)
    else:
        layout = _run_tsne(distinct_vectors, seed)
    layout = layout[positions.ravel()]
    low = layout.min(axis=0)
    extent = layout.max(axis=0) - low
    shares = (layout - low) / np.where(extent > 0, extent, 1)
    drawing_area = np.array(MAP_SIZE) - 2 * MAP_MARGIN
    pixels: npt.NDArray[np.float64] = MAP_MARGIN + shares * drawing_area
    return pixels


def _run_tsne(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float64]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    reduction = PCA(n_components=min(30, *vectors.shape), random_state=seed)
    perplexity = min(30, (len(vectors) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", max_iter=500, random_state=seed)
    layout: npt.NDArray[np.float64] = tsne.fit_transform(reduction.fit_transform(vectors))
    return layout
