"""The order in which people read boxes on a page: by the widest gaps between them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

TOLERANCE = 0.01  # of the page's extent by which boxes may overlap and still stand apart


class Box(NamedTuple):
    """Where a shape lies, in any unit; `top` is less than `bottom`."""

    left: float
    top: float
    right: float
    bottom: float


class Cut(NamedTuple):
    """Two groups of boxes that a gap separates."""

    gap: float
    first: list[int]
    second: list[int]


def sort_boxes(boxes: Sequence[Box | None]) -> list[int]:
    """Indices of the boxes in reading order; those without a position come last.

    The page is cut recursively at its widest gap (Nagy and Seth 1984), between columns before
    rows if both are as wide. Boxes that no gap separates are read from top to bottom.
    """
    placed = [index for index, box in enumerate(boxes) if box is not None]
    known = {index: box for index, box in enumerate(boxes) if box is not None}
    order = _sort(placed, known)
    return order + [index for index, box in enumerate(boxes) if box is None]


def _sort(indices: list[int], boxes: dict[int, Box]) -> list[int]:
    """Without recursion, since a page may have thousands of boxes."""
    order: list[int] = []
    pending = [indices]
    while pending:
        group = pending.pop()
        cut = _best_cut(group, boxes) if len(group) > 1 else None
        if cut is None:
            order += sorted(group, key=lambda index: (boxes[index].top, boxes[index].left))
        else:
            pending += [cut.second, cut.first]
    return order


def _best_cut(group: list[int], boxes: dict[int, Box]) -> Cut | None:
    beside = _widest_cut(group, lambda index: boxes[index].left, lambda index: boxes[index].right)
    below = _widest_cut(group, lambda index: boxes[index].top, lambda index: boxes[index].bottom)
    if beside is None or below is None:
        return beside or below
    return beside if beside.gap >= below.gap else below


def _widest_cut(
    group: list[int], start: Callable[[int], float], end: Callable[[int], float]
) -> Cut | None:
    """The cut at the widest gap in one direction; None if the boxes overlap throughout."""
    ordered = sorted(group, key=start)
    extent = max(map(end, group)) - start(ordered[0])
    best: Cut | None = None
    reach = end(ordered[0])
    for position in range(1, len(ordered)):
        gap = start(ordered[position]) - reach
        if gap >= -TOLERANCE * extent and (best is None or gap > best.gap):
            best = Cut(gap, ordered[:position], ordered[position:])
        reach = max(reach, end(ordered[position]))
    return best
