"""The order in which people read boxes on a page: by the widest gaps between them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

TOLERANCE = 0.01  # of the page's extent by which boxes may overlap and still stand apart


class Box(NamedTuple):
    """Where a shape lies, in any unit; `top` is less than `bottom`."""

    x_start: float
    top: float
    x_end: float
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
    positions = [index for index, box in enumerate(boxes) if box is not None]
    boxes_by_index = {index: box for index, box in enumerate(boxes) if box is not None}
    order = _sort(positions, boxes_by_index)
    return order + [index for index, box in enumerate(boxes) if box is None]


def _sort(indices: list[int], boxes: dict[int, Box]) -> list[int]:
    """Without recursion, since a page may have thousands of boxes."""
    order: list[int] = []
    pending = [indices]
    while pending:
        group = pending.pop()
        cut = _best_cut(group, boxes) if len(group) > 1 else None
        if cut is None:
            order += sorted(group, key=lambda index: (boxes[index].top, boxes[index].x_start))
        else:
            pending += [cut.second, cut.first]
    return order


def _best_cut(group: list[int], boxes: dict[int, Box]) -> Cut | None:
    beside = _widest_cut(
        group, lambda index: boxes[index].x_start, lambda index: boxes[index].x_end
    )
    below = _widest_cut(group, lambda index: boxes[index].top, lambda index: boxes[index].bottom)
    if beside is None or below is None:
        return beside or below
    return beside if beside.gap >= below.gap else below


def _widest_cut(
    group: list[int], start: Callable[[int], float], end: Callable[[int], float]
) -> Cut | None:
    """The cut at the widest gap in one direction; None if the boxes overlap throughout."""
    sorted_group = sorted(group, key=start)
    extent = max(map(end, group)) - start(sorted_group[0])
    best: Cut | None = None
    reach = end(sorted_group[0])
    for position in range(1, len(sorted_group)):
        gap = start(sorted_group[position]) - reach
        if gap >= -TOLERANCE * extent and (best is None or gap > best.gap):
            best = Cut(gap, sorted_group[:position], sorted_group[position:])
        reach = max(reach, end(sorted_group[position]))
    return best
