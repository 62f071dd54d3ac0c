"""Answers with a causal language model: loads base and adapter, generates greedily, in batches.

Rows join and leave between two steps (continuous batching, Yu et al. 2022, "Orca"): a long answer
holds nobody up, and a slot that becomes free is used at once. Evaluation and serving answer by this
same code. Computed in fp32, an answer does not depend on the rows beside it; in bf16 about one in
300 does.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from . import recording
from .prompt_tokens import prompt_tokens
from .recording import Step
from .rendering import ModelInput

MAX_READ_TOKENS = 4096  # of prompts at once: enough for full speed, and the progress bar moves


class Answer(NamedTuple):
    """A generated text, stripped, and its cost in tokens."""

    text: str
    num_prompt_tokens: int
    num_new_tokens: int


@dataclass(eq=False)
class Row:
    """One prompt under way. Setting `is_stopped` ends it before the next step."""

    prompt: list[int]  # tokens
    max_new_tokens: int
    tokens: list[int] = field(default_factory=list)  # new ones, the end token included
    is_stopped: bool = False


@dataclass(frozen=True)
class Generator:
    """A loaded model and its tokenizer."""

    model: Any
    tokenizer: Any

    def row(self, prompt: ModelInput, max_new_tokens: int) -> Row:
        return Row(prompt_tokens(self.tokenizer, prompt), max_new_tokens)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """Each ends an answer: the tokenizer's, and those of the model's generation_config.json."""
        ends = self.model.generation_config.eos_token_id
        tokens = ends if isinstance(ends, list) else [ends]
        return frozenset({*tokens, self.tokenizer.eos_token_id} - {None})

    @cached_property
    def step(self) -> Step:
        """A step of one token per row: recorded if that is the same to the bit.

        Otherwise it is the model's own code, and a message says why.
        """
        own: Step = partial(own_step, self.model)
        if self.model.device.type != "cpu":
            return own  # TorchScript would fuse operations there and round differently
        recorded_step, reason = recording.record(self.model, own)
        if recorded_step is None:
            print(
                f"{type(self.model).__name__}: a step is not recorded and runs in the library's "
                f"own Python, which is slower: {reason}",
                flush=True,
            )
        return recorded_step or own

    def is_complete(self, row: Row) -> bool:
        """Whether a row gets no further token."""
        is_full = len(row.tokens) >= row.max_new_tokens
        return row.is_stopped or is_full or self._has_end(row)

    def read(self, row: Row) -> Answer:
        """The answer of a row, or as much of it as there is."""
        tokens = row.tokens[:-1] if self._has_end(row) else row.tokens
        text = self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return Answer(text, len(row.prompt), len(tokens))

    def answer(
        self,
        prompts: Sequence[ModelInput],
        max_new_tokens: int,
        batch_size: int,
        progress: str | None = None,
    ) -> list[Answer]:
        """Greedy answers in the order of `prompts`, `batch_size` at once.

        `progress` names a progress bar.
        """
        rows = self.generate_rows(prompts, max_new_tokens, batch_size, progress)
        return [self.read(row) for row in rows]

    def generate_rows(
        self,
        prompts: Sequence[ModelInput],
        max_new_tokens: int,
        batch_size: int,
        progress: str | None = None,
    ) -> list[Row]:
        """The same as `answer`, as rows of tokens."""
        from tqdm import tqdm

        rows = [self.row(prompt, max_new_tokens) for prompt in prompts]
        waiting = deque(sorted(rows, key=lambda row: -len(row.prompt)))
        batch = Batch(self)
        # Reading prompts one by one would cost as much as a step each.
        min_joining = max(1, batch_size // 4)
        is_hidden = progress is None
        # A prompt read counts like an answer: on a CPU, reading long ones takes most of the time.
        with tqdm(
            total=2 * len(rows),
            desc=progress,
            unit=" prompts and answers",
            disable=is_hidden,
            mininterval=1,
        ) as bar:
            while waiting or batch.rows:
                num_free = batch_size - len(batch.rows)
                if waiting and num_free >= min_joining:
                    for group in _groups(waiting, num_free):
                        batch.add(group)
                        bar.update(len(group))
                else:
                    batch.step()
                bar.update(len(batch.leave()))
        return rows

    def _has_end(self, row: Row) -> bool:
        return bool(row.tokens) and row.tokens[-1] in self.end_tokens


def _groups(waiting: deque[Row], num_rows: int) -> Iterator[list[Row]]:
    """Take up to `num_rows` rows, longest first, in groups of at most MAX_READ_TOKENS tokens."""
    num_taken = 0
    while waiting and num_taken < num_rows:
        width = max(1, len(waiting[0].prompt))
        size = min(max(1, MAX_READ_TOKENS // width), num_rows - num_taken, len(waiting))
        yield [waiting.popleft() for _ in range(size)]
        num_taken += size


class Batch:
    """Rows that are generated together.

    Their keys and values are padded on the left, to the length of the longest row.
    """

    def __init__(self, generator: Generator):
        self.rows: list[Row] = []
        self._generator = generator
        # Keys and values of each layer in turn, each (rows, heads, tokens, dimensions).
        self._cache: list[Any] = []
        # (rows, tokens): 1 for a token, 0 for padding.
        self._mask: Any = None

    def add(self, rows: list[Row]) -> None:
        """Read the prompts of new rows and write the first token of each."""
        import torch

        device = self._generator.model.device
        width = max(len(row.prompt) for row in rows)
        tokens: list[list[int]] = []
        mask: list[list[int]] = []
        for row in rows:
            num_padding = width - len(row.prompt)
            tokens.append([0] * num_padding + row.prompt)
            mask.append([0] * num_padding + [1] * len(row.prompt))
        inputs = torch.tensor(tokens, device=device)
        new_mask = torch.tensor(mask, device=device)
        next_tokens, cache = self._forward(self._own_step, inputs, new_mask, [])
        _append(rows, next_tokens)
        if self.rows:
            self._join(cache, new_mask)
        else:
            self._cache = cache
            self._mask = new_mask
        self.rows = [*self.rows, *rows]

    def step(self) -> None:
        """Write one token of each row."""
        import torch

        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        last = torch.tensor([[row.tokens[-1]] for row in self.rows], device=self._mask.device)
        next_tokens, self._cache = self._forward(
            self._generator.step, last, self._mask, self._cache
        )
        _append(self.rows, next_tokens)

    def leave(self) -> list[Row]:
        """Take out the rows that are complete, and padding that is not needed any more."""
        complete = [row for row in self.rows if self._generator.is_complete(row)]
        if complete:
            remaining = [index for index, row in enumerate(self.rows) if row not in complete]
            self.rows = [self.rows[index] for index in remaining]
            if remaining:
                self._select(remaining)
        return complete

    def _own_step(self, tokens: Any, mask: Any, cache: list[Any]) -> tuple[Any, list[Any]]:
        return own_step(self._generator.model, tokens, mask, cache)

    def _forward(
        self, step: Step, tokens: Any, mask: Any, cache: list[Any]
    ) -> tuple[list[int], list[Any]]:
        import torch

        with torch.inference_mode():
            next_tokens, cache = step(tokens, mask, cache)
        return next_tokens.tolist(), cache

    def _select(self, indices: list[int]) -> None:
        """Keep these rows of mask and cache, as wide as the longest of them."""
        import torch

        rows = torch.tensor(indices, device=self._mask.device)
        width = int(self._mask[rows].sum(1).max())
        self._mask = self._mask[rows, -width:]
        self._cache = [part[rows, :, -width:] for part in self._cache]

    def _join(self, cache: list[Any], mask: Any) -> None:
        """Put the mask, keys and values of new rows below these."""
        width = max(self._mask.shape[1], mask.shape[1])
        self._mask = _stack(self._mask, mask, width, num_inner=0)
        pairs = zip(self._cache, cache, strict=True)
        self._cache = [_stack(part, new, width, num_inner=1) for part, new in pairs]


def _append(rows: list[Row], tokens: list[int]) -> None:
    for row, token in zip(rows, tokens, strict=True):
        row.tokens.append(token)


def _stack(upper: Any, lower: Any, width: int, num_inner: int) -> Any:
    """Two tensors, padded on the left to `width` tokens, one below the other.

    `num_inner` dimensions follow that of the tokens.
    """
    import torch

    parts = []
    for part in (upper, lower):
        num_missing = width - part.shape[-1 - num_inner]
        padding = (0, 0) * num_inner + (num_missing, 0)
        parts.append(torch.nn.functional.pad(part, padding))
    return torch.cat(parts)


def own_step(model: Any, tokens: Any, mask: Any, cache: list[Any]) -> tuple[Any, list[Any]]:
    """A step by the model's own code; see `Step`."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    # Without the model's configuration every layer keeps all keys, so that rows of different
    # lengths can join.
    past = DynamicCache()
    for keys, values in zip(cache[::2], cache[1::2], strict=True):
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys = keys
        layer.values = values
        past.layers.append(layer)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    output = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions[:, -tokens.shape[1] :],
        past_key_values=past,
        use_cache=True,
        logits_to_keep=1,
    )
    new_cache: list[Any] = []
    for layer in past.layers:
        new_cache += [layer.keys, layer.values]
    return output.logits[:, -1].argmax(-1), new_cache


def load(
    base: Path,
    adapter: Path | None = None,
    precision: Literal["weights", "fp32"] = "weights",
    quantise: Callable[[Any], None] | None = None,
) -> Generator:
    """The base model, with the adapter merged into it if there is one.

    A folder of full weights as `adapter` takes the base model's place. `precision`: computed as
    saved, or in fp32. `quantise` changes the weights before anything is computed.
    """
    import torch
    from transformers import GenerationConfig

    model = _load_model(base, adapter)
    # Greedy, whatever sampling the base model's authors prefer. Their end tokens stay.
    end_tokens = model.generation_config.eos_token_id
    model.generation_config = GenerationConfig(eos_token_id=end_tokens)
    if precision == "fp32":
        model = model.float()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    if quantise is not None:
        quantise(model)
    return Generator(model, tokenizer_of(base))


def _load_model(base: Path, adapter: Path | None) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    is_full = adapter is not None and not (adapter / "adapter_config.json").exists()
    weights = adapter if is_full else base
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(weights), dtype="auto", local_files_only=True
    )
    if model._is_stateful:
        raise ValueError(
            f"{weights}: {type(model).__name__} keeps a state instead of keys and values, so its "
            "rows cannot join and leave a batch: choose another base model"
        )
    if adapter is not None and not is_full:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return model


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a model folder. It pads on the left, with its own or the end token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, padding_side="left"
    )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
