"""Ends an answer before the first of the texts that its client named (`stop`)."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from pipelines.serving.async_client import Piece
from pipelines.serving.client import Answer


class StopFilter:
    """Lets through what is sure to stand before the first stop text."""

    def __init__(self, stops: list[str]):
        self._stops = stops
        self._tail = ""  # may be the beginning of a stop text
        self._is_stopped = False

    def add(self, text: str) -> str:
        """What may leave of all text so far and has not left."""
        if self._is_stopped:
            return ""
        text = self._tail + text
        end = first_stop(text, self._stops)
        if end is not None:
            self._is_stopped = True
            return text[:end]
        start = len(text) - self._num_open(text)
        self._tail = text[start:]
        return text[:start]

    def end(self) -> str:
        """What was held back, after the last text."""
        return "" if self._is_stopped else self._tail

    def _num_open(self, text: str) -> int:
        """Characters at the end of a text with which a stop text begins."""
        longest = max(map(len, self._stops)) - 1
        for count in range(min(longest, len(text)), 0, -1):
            tail = text[-count:]
            if any(stop.startswith(tail) for stop in self._stops):
                return count
        return 0


def first_stop(text: str, stops: list[str]) -> int | None:
    """Where the first stop text begins; None if there is none."""
    starts = [text.find(stop) for stop in stops]
    return min((start for start in starts if start >= 0), default=None)


async def cut(
    parts: AsyncIterator[Piece | Answer], stops: list[str]
) -> AsyncGenerator[Piece | Answer, None]:
    """The parts of an answer up to the first stop text.

    The assistant writes its answer to the end, which the request costs.
    """
    stop_filter = StopFilter(stops)
    async with aclosing(parts):  # type: ignore[type-var]
        async for part in parts:
            if isinstance(part, Piece):
                text = stop_filter.add(part.text)
                if text:
                    yield replace(part, text=text)
            else:
                rest = stop_filter.end()
                if rest:
                    yield Piece(rest, part.release_id)
                end = first_stop(part.text, stops)
                yield part if end is None else replace(part, text=part.text[:end], is_cut=True)
