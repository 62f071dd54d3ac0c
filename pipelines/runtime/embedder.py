"""The Triton model `embedder`: texts in, unit vectors out, as evaluate encodes questions.

Input `text` (UTF-8, one per row). Output `vector` (float32, one row per text, as wide as the
encoder's dimensions). With the input `question`, the same in each row, the output is `score`
instead: how well each text answers it (late_interaction.py). For who asks for them there are
`num_tokens`, and `is_whole`: whether the encoder reads all of them. The requests that Triton
batched are encoded together, grouped by width (unit_vectors.py). The encoder's files are in this
version's folder.
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
from .late_interaction import WordVectors


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the encoder, on the GPU if there is one."""
        folder = Path(args["model_repository"]) / args["model_version"]
        disable_progress_bar()
        unit_vectors.fix_instructions()
        # A question is short: threads would wait for each other longer than they compute.
        torch.set_num_threads(1)
        self.precision = json.loads((folder / "settings.json").read_text())["precision"]
        self.model = SentenceTransformer(str(folder / "encoder"), local_files_only=True).eval()
        if self.precision == "bf16":
            unit_vectors.halve(self.model)
        self.words = WordVectors(self._encode_words)

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
        parts = np.split(self._encode(texts), ends[:-1])
        for number, part in enumerate(parts):
            if responses[number] is None:
                tensors = [triton.Tensor("vector", part), *self._measure(requests[number])]
                responses[number] = triton.InferenceResponse(tensors)
        return responses

    def _measure(self, request: Any) -> list[Any]:
        """The tokens of each text, if the request asks for them."""
        if not {"num_tokens", "is_whole"}.intersection(request.requested_output_names()):
            return []
        texts = _texts(request, "text")
        tokens = self.model.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        counts = np.array([[len(row)] for row in tokens], dtype=np.int32)
        is_whole = counts <= self.model.max_seq_length
        return [triton.Tensor("num_tokens", counts), triton.Tensor("is_whole", is_whole)]

    def _score(self, request: Any) -> Any:
        question = _texts(request, "question")[0]
        scores = self.words.scores(question, _texts(request, "text"))
        column = np.array(scores, dtype=np.float32).reshape(-1, 1)
        return triton.InferenceResponse([triton.Tensor("score", column)])

    def _encode(self, texts: list[str]) -> Any:
        """Unit vectors, shape (texts, dimensions)."""
        dimensions = int(self.model.get_embedding_dimension() or 0)
        vectors: Any = np.zeros((len(texts), dimensions), dtype=np.float32)
        for rows in self._group(texts):
            group = [texts[row] for row in rows]
            vectors[rows] = unit_vectors.of(self.model, group, self.precision)
        return vectors

    def _encode_words(self, texts: list[str]) -> list[Any]:
        """The word vectors of each text, shape (words, dimensions)."""
        result: list[Any] = [None] * len(texts)
        for rows in self._group(texts):
            group = [texts[row] for row in rows]
            vectors = unit_vectors.words(self.model, group, self.precision)
            for row, array in zip(rows, vectors, strict=True):
                result[row] = array
        return result

    def _group(self, texts: list[str]) -> list[list[int]]:
        """Positions of the texts that share one width."""
        rows_by_width: dict[int, list[int]] = {}
        for row, text in enumerate(texts):
            num_tokens = self.model.preprocess([text])["input_ids"].shape[1]
            rows_by_width.setdefault(unit_vectors.width(num_tokens), []).append(row)
        return list(rows_by_width.values())


def _texts(request: Any, name: str) -> list[str]:
    rows = triton.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)
    return [row.decode("utf-8", "replace") for row in rows]
