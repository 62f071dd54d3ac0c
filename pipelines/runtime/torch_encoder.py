"""The encoder's engine `torch`: a sentence-transformers model, for NVIDIA GPUs.

On a CPU it computes one text after another, since the last bits would otherwise depend on the
batch. It is slow there, and for encoders that OpenVINO does not take.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .text_encoder import Precision


class TorchEncoder:
    """A loaded model; those of a batch are given together."""

    def __init__(self, model: Any, precision: "Precision"):
        self.model = model
        self.precision = precision
        self.dimensions = int(model.get_embedding_dimension() or 0)
        self.max_tokens = int(model.max_seq_length)

    def count_tokens(self, texts: list[str]) -> list[int]:
        tokens = self.model.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        return [len(row) for row in tokens]

    def vectors(self, texts: list[str]) -> Any:
        import torch

        parts = [np.zeros((0, self.dimensions), dtype=np.float32)]
        for batch in self._batches(texts):
            _, outputs = self._compute(batch)
            embeddings = outputs["sentence_embedding"].float()
            parts.append(torch.nn.functional.normalize(embeddings, dim=1).cpu().numpy())
        return np.concatenate(parts)

    def words(self, texts: list[str]) -> list[Any]:
        import torch

        words: list[Any] = []
        for batch in self._batches(texts):
            inputs, outputs = self._compute(batch)
            special = torch.tensor(self.model.tokenizer.all_special_ids, device=self.model.device)
            is_word = inputs["attention_mask"].bool() & ~torch.isin(inputs["input_ids"], special)
            unit = torch.nn.functional.normalize(outputs["token_embeddings"].float(), dim=2)
            for vectors, mask in zip(unit, is_word, strict=True):
                words.append(vectors[mask].cpu().numpy())
        return words

    def _batches(self, texts: list[str]) -> list[list[str]]:
        if self.model.device.type == "cpu":
            return [[text] for text in texts]
        return [texts] if texts else []

    def _compute(self, texts: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The model's inputs and all its outputs."""
        import torch

        features = {
            key: values.to(self.model.device)
            for key, values in self.model.preprocess(texts).items()
            if hasattr(values, "to")
        }
        kind = self.model.device.type
        is_half = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=is_half):
            return features, self.model(dict(features))


def load(folder: Path, precision: "Precision") -> TorchEncoder:
    """The model of a folder, on the GPU if there is one."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = SentenceTransformer(str(folder), local_files_only=True).eval()
    return TorchEncoder(model, precision)
