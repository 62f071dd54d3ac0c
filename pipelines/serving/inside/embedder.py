"""The Triton model `embedder`: texts in, unit vectors out, as evaluate encodes questions. Copied into the model repository as model.py.

Input `text` (UTF-8, one a row). Output `vector` (float32, one row of the encoder's dimensions a text). The requests that Triton batched are
encoded together, by one width each (unitvectors.py). The encoder's files are in this version's folder.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


class TritonPythonModel:
    """The class that Triton's Python back end looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the encoder, on the GPU where there is one."""
        here = Path(args["model_repository"]) / args["model_version"]
        sys.path.insert(0, str(here))
        import torch
        import unitvectors
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        torch.set_num_threads(1)  # a question is short: threads would wait for one another longer than they compute
        self.unitvectors, self.precision = unitvectors, json.loads((here / "settings.json").read_text())["precision"]
        self.model = SentenceTransformer(str(here / "encoder"), local_files_only=True).eval()
        if self.precision == "bf16":
            unitvectors.halve(self.model)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request; an error concerns all requests of the batch."""
        import triton_python_backend_utils as triton

        given = [triton.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1) for request in requests]
        vectors = self._encoded([value.decode("utf-8", "replace") for values in given for value in values])
        ends = np.cumsum([len(values) for values in given])
        return [triton.InferenceResponse([triton.Tensor("vector", rows)]) for rows in np.split(vectors, ends[:-1])]

    def _encoded(self, texts: list[str]) -> Any:
        """Unit vectors, shape (texts, dimensions)."""
        by_width: dict[int, list[int]] = {}
        for place, text in enumerate(texts):
            by_width.setdefault(self.unitvectors.width(self.model.preprocess([text])["input_ids"].shape[1]), []).append(place)
        found: Any = np.zeros((len(texts), int(self.model.get_embedding_dimension() or 0)), dtype=np.float32)
        for places in by_width.values():
            found[places] = self.unitvectors.of(self.model, [texts[place] for place in places], self.precision)
        return found
