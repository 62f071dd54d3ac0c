"""The encoder: turns texts into unit vectors, in the pipeline as in Triton.

The engine `openvino` is for CPUs, `torch` for NVIDIA GPUs. A text's vector does not depend on the
texts that are encoded beside it: OpenVINO, and torch on a CPU, compute each text alone.
"""

from pathlib import Path
from typing import Any, Literal, Protocol

Engine = Literal["openvino", "torch"]
Precision = Literal["bf16", "fp32"]


class TextEncoder(Protocol):
    """A loaded encoder. It reads at most `max_tokens` of a text, special ones included."""

    dimensions: int
    max_tokens: int

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each whole text, special ones included."""

    def vectors(self, texts: list[str]) -> Any:
        """Unit vectors: float32, shape (texts, dimensions)."""

    def words(self, texts: list[str]) -> list[Any]:
        """The unit vectors of each text's tokens in their context: float32, (tokens, dimensions).

        Tokens that the model adds are left out.
        """


def load(folder: Path, engine: Engine, precision: Precision, num_streams: int) -> TextEncoder:
    """The encoder of a folder, which was written for this engine.

    `num_streams`: texts at once with `openvino`, each on one core.
    """
    if engine == "openvino":
        from . import openvino_encoder

        return openvino_encoder.load(folder, precision, num_streams)
    from . import torch_encoder

    return torch_encoder.load(folder, precision)
