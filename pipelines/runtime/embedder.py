"""The Triton model `embedder`: texts in, unit vectors out, as evaluate encodes questions.

Input `text` (UTF-8, one per row). Output `vector` (float32, one row per text, as wide as the
encoder's dimensions). The requests that Triton batched are encoded together, grouped by width
(unit_vectors.py). The encoder's files are in this version's folder.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as triton
from sentence_transformers import SentenceTransformer
from transformers.utils.logging import disable_progress_bar

from . import unit_vectors


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the encoder, on the GPU if there is one."""
        folder = Path(args["model_repository"]) / args["model_version"]
        disable_progress_bar()
        # A question is short: threads would wait for each other longer than they compute.
        torch.set_num_threads(1)
        self.precision = json.loads((folder / "settings.json").read_text())["precision"]
        self.model = SentenceTransformer(str(folder / "encoder"), local_files_only=True).eval()
        if self.precision == "bf16":
            unit_vectors.halve(self.model)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request; an error concerns all requests of the batch."""
        texts: list[str] = []
        ends: list[int] = []
        for request in requests:
            rows = triton.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1)
            texts += [row.decode("utf-8", "replace") for row in rows]
            ends.append(len(texts))
        parts = np.split(self._encode(texts), ends[:-1])
        return [triton.InferenceResponse([triton.Tensor("vector", part)]) for part in parts]

    def _encode(self, texts: list[str]) -> Any:
        """Unit vectors, shape (texts, dimensions)."""
        rows_by_width: dict[int, list[int]] = {}
        for row, text in enumerate(texts):
            num_tokens = self.model.preprocess([text])["input_ids"].shape[1]
            rows_by_width.setdefault(unit_vectors.width(num_tokens), []).append(row)
        dimensions = int(self.model.get_embedding_dimension() or 0)
        vectors: Any = np.zeros((len(texts), dimensions), dtype=np.float32)
        for rows in rows_by_width.values():
            group = [texts[row] for row in rows]
            vectors[rows] = unit_vectors.of(self.model, group, self.precision)
        return vectors
