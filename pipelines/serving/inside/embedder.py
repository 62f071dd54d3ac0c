"""The Triton model `embedder`: texts in, unit vectors out, as evaluate encodes questions. Copied into the model repository as model.py.

Input `text` (UTF-8, one a row). Output `vector` (float32, one row of the encoder's dimensions a text). The requests that Triton batched are
encoded together. The encoder's files are in this version's folder.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np


class TritonPythonModel:
    """The class that Triton's Python back end looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the encoder, on the GPU where there is one."""
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        here = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((here / "settings.json").read_text())
        self.torch, self.bf16 = torch, settings["precision"] == "bf16"
        self.model = SentenceTransformer(str(here / "encoder"), local_files_only=True).eval()

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request; an error concerns all requests of the batch."""
        import triton_python_backend_utils as triton

        given = [triton.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1) for request in requests]
        vectors = self._encoded([value.decode("utf-8", "replace") for values in given for value in values])
        ends = np.cumsum([len(values) for values in given])
        return [triton.InferenceResponse([triton.Tensor("vector", rows)]) for rows in np.split(vectors, ends[:-1])]

    def _encoded(self, texts: list[str]) -> Any:
        """Unit vectors, shape (texts, dimensions)."""
        torch = self.torch
        features = {name: value.to(self.model.device) for name, value in self.model.preprocess(texts).items() if hasattr(value, "to")}
        with torch.inference_mode(), torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.bf16):
            vectors = self.model(features)["sentence_embedding"]
        return torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()
