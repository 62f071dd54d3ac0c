"""The encoder's engine `openvino`: each core works on a text of its own.

A folder holds the graph of a sentence-transformers model (encoder.xml and .bin), its
tokenizer, and encoder.json, which says what the model does not. vectorstore/encoder_graph.py writes
it.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from .text_encoder import Precision

GRAPH = "encoder.xml"
TOKENIZER = "tokenizer.json"
FACTS = "encoder.json"
# A text is padded to the next multiple of so many tokens, since OpenVINO prepares itself for each
# new width.
WIDTH_STEP = 16
INPUTS = ("input_ids", "attention_mask", "token_type_ids")  # that a tokenizer gives here
# The graph's outputs.
SENTENCE, TOKENS = 0, 1


class OpenVinoEncoder:
    """A graph that OpenVINO has loaded, and its tokenizer."""

    def __init__(self, requests: Any, folder: Path, facts: dict[str, Any]):
        self.requests = requests  # openvino.AsyncInferQueue
        self.whole_tokenizer = _load_tokenizer(folder)
        self.tokenizer = _load_tokenizer(folder)
        self.tokenizer.enable_truncation(facts["max_tokens"])
        self.inputs: list[str] = facts["inputs"]  # names, in the order of the graph's
        self.padding: int = facts["padding"]  # the token's id
        self.special_tokens: list[int] = facts["special_tokens"]
        self.dimensions: int = facts["dimensions"]
        self.max_tokens: int = facts["max_tokens"]

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self.whole_tokenizer.encode_batch_fast(texts)]

    def vectors(self, texts: list[str]) -> Any:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)

        def keep(request: Any, row: int) -> None:
            vectors[row] = request.get_output_tensor(SENTENCE).data[0]

        self._compute(texts, keep)
        return _normalize(vectors)

    def words(self, texts: list[str]) -> list[Any]:
        vectors: list[Any] = [None] * len(texts)

        def keep(request: Any, row: int) -> None:
            tokens = request.get_input_tensor(0).data[0]
            mask = request.get_input_tensor(self.inputs.index("attention_mask")).data[0]
            is_word = (mask == 1) & ~np.isin(tokens, self.special_tokens)
            vectors[row] = _normalize(request.get_output_tensor(TOKENS).data[0][is_word])

        self._compute(texts, keep)
        return vectors

    def _compute(self, texts: list[str], keep: Any) -> None:
        """Compute each text alone, and give the request and the text's number to `keep`."""
        self.requests.set_callback(keep)
        for row, encoding in enumerate(self.tokenizer.encode_batch(texts)):
            self.requests.start_async(self._features(encoding), row)
        self.requests.wait_all()

    def _features(self, encoding: Any) -> list[Any]:
        """The graph's inputs, shape (1, padded tokens)."""
        num_missing = -len(encoding.ids) % WIDTH_STEP
        rows = (
            [*encoding.ids, *[self.padding] * num_missing],
            [*encoding.attention_mask, *[0] * num_missing],
            [*encoding.type_ids, *[0] * num_missing],
        )
        columns = dict(zip(INPUTS, rows, strict=True))
        return [np.array([columns[name]], dtype=np.int64) for name in self.inputs]


def load(folder: Path, precision: "Precision", num_streams: int) -> OpenVinoEncoder:
    """The encoder of a folder, which computes so many texts at once, each on one core."""
    import openvino

    properties = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "NUM_STREAMS": num_streams,
        "INFERENCE_NUM_THREADS": num_streams,
    }
    model = openvino.Core().compile_model(folder / GRAPH, "CPU", properties)
    facts = json.loads((folder / FACTS).read_text())
    return OpenVinoEncoder(openvino.AsyncInferQueue(model, num_streams), folder, facts)


def _load_tokenizer(folder: Path) -> "Tokenizer":
    """The tokenizer of a folder, which neither pads nor cuts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _normalize(vectors: Any) -> Any:
    """Unit vectors, shape as it is; what is 0 stays 0."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)
