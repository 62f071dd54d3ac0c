"""The Triton model `embedder`: texts in, unit vectors out, as evaluate encodes questions.

Input `text` (UTF-8, one per row). Output `vector` (float32, one row per text, as wide as the
encoder's dimensions). With the input `question`, the same in each row, the output is `score`
instead: how well each text answers it (late_interaction.py). For who asks for them there are
`num_tokens`, and `is_whole`: whether the encoder reads all of them. The encoder's files and how it
computes (settings.json) are in this version's folder.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from . import text_encoder
from .late_interaction import WordVectors


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the encoder."""
        folder = Path(args["model_repository"]) / args["model_version"]
        settings = json.loads((folder / "settings.json").read_text())
        num_cores = len(os.sched_getaffinity(0))
        self.encoder = text_encoder.load(
            folder / "encoder", settings["engine"], settings["precision"], num_cores
        )
        self.words = WordVectors(self.encoder.words)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request; an error concerns all requests of the batch."""
        texts: list[str] = []
        ends: list[int] = []
        responses: list[Any] = [None] * len(requests)
        for number, request in enumerate(requests):
            if triton.get_input_tensor_by_name(request, "question") is None:
                texts += _texts(request, "text")
            else:
                responses[number] = self._score(request)
            ends.append(len(texts))
        parts = np.split(self.encoder.vectors(texts), ends[:-1])
        for number, part in enumerate(parts):
            if responses[number] is None:
                tensors = [triton.Tensor("vector", part), *self._measure(requests[number])]
                responses[number] = triton.InferenceResponse(tensors)
        return responses

    def _measure(self, request: Any) -> list[Any]:
        """The tokens of each text, if the request asks for them."""
        if not {"num_tokens", "is_whole"}.intersection(request.requested_output_names()):
            return []
        counts = np.array(self.encoder.count_tokens(_texts(request, "text")), dtype=np.int32)
        column = counts.reshape(-1, 1)
        is_whole = column <= self.encoder.max_tokens
        return [triton.Tensor("num_tokens", column), triton.Tensor("is_whole", is_whole)]

    def _score(self, request: Any) -> Any:
        question = _texts(request, "question")[0]
        scores = self.words.scores(question, _texts(request, "text"))
        column = np.array(scores, dtype=np.float32).reshape(-1, 1)
        return triton.InferenceResponse([triton.Tensor("score", column)])


def _texts(request: Any, name: str) -> list[str]:
    rows = triton.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)
    return [row.decode("utf-8", "replace") for row in rows]
