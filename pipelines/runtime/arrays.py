"""Single values as numpy arrays and back: every input and output of our models is an array."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = dict[str, Any]  # numpy arrays by the name of the input or output


def text(content: str) -> Any:
    """A text as Triton wants it: UTF-8 bytes in an array of objects, shape (1,)."""
    return np.array([content.encode("utf-8")], dtype=np.object_)


def value(array: Any) -> Any:
    """The first value of an array, as a plain Python value."""
    first = array.reshape(-1)[0]
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else first.item()


def values(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The first value of each array."""
    return {name: value(array) for name, array in arrays.items()}
