"""What an erasure found in one place, and how it is removed from there."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """So many rows, files or the like in one place.

    `remove` takes them away; without it a person must, and `remedy` says how.
    """

    location: str
    count: int
    unit: str
    remove: Callable[[], None] | None = None
    remedy: str = ""
    contents: tuple[str, ...] = ()  # digests of those of the index that it makes incomplete
