"""Knows how a causal language model answers: loads base and adapter, generates greedily, many rows at once.

Rows come and go between two steps (continuous batching, Yu et al. 2022, "Orca"): a long answer holds nobody up, and a place that became
free is taken at once. The export copies this file into the Triton model, so that evaluation and serving answer by the same code: it
imports nothing of ours. Computed in fp32, an answer does not depend on the rows beside it; in bf16 about one in 300 does.
Of a small model's step most is the library's Python, so on a CPU the operations of a step are recorded once and then run without it.
"""

import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

Next = Callable[[Any, Any, list[Any]], tuple[Any, list[Any]]]  # as `_next` without its model
ABOUT_LENGTHS = ("cache_utils.py", "masking_utils.py", "sdpa_attention.py")  # files of transformers whose decisions come out the same for each step of one token
CHECKED = ((1, 3), (5, 40))  # rows and cached tokens with which a recording is compared


class Answer(NamedTuple):
    """A generated text, stripped, and its cost in tokens."""

    text: str
    num_prompt_tokens: int
    num_new_tokens: int


@dataclass(eq=False)
class Row:
    """One prompt under way. Whoever sets `stopped` ends it before the next step."""

    prompt: list[int]  # tokens
    max_new_tokens: int
    tokens: list[int] = field(default_factory=list)  # new ones, the end token included
    stopped: bool = False


@dataclass(frozen=True)
class Generator:
    """A loaded model and its tokenizer."""

    model: Any
    tokenizer: Any

    def row(self, prompt: str, max_new_tokens: int) -> Row:
        return Row(self.tokenizer(prompt)["input_ids"], max_new_tokens)

    @cached_property
    def step(self) -> Next:
        """`_next` for one token a row: recorded where that is the same to the bit, else the model's own code, which is said."""
        own: Next = partial(_next, self.model)
        if self.model.device.type != "cpu":
            return own  # TorchScript would join operations there and round otherwise
        recorded, reason = _recorded(self.model, own)
        if reason:
            print(f"{type(self.model).__name__}: a step is not recorded and runs in the library's own Python, which is slower: {reason}", flush=True)
        return recorded or own

    def ended(self, row: Row) -> bool:
        return row.stopped or len(row.tokens) >= row.max_new_tokens or row.tokens[-1:] == [self.tokenizer.eos_token_id]

    def read(self, row: Row) -> Answer:
        """The answer of a row, or as much of it as there is."""
        tokens = row.tokens[:-1] if row.tokens[-1:] == [self.tokenizer.eos_token_id] else row.tokens
        return Answer(self.tokenizer.decode(tokens, skip_special_tokens=True).strip(), len(row.prompt), len(tokens))

    def answer(self, prompts: list[str], max_new_tokens: int, batch_size: int, progress: str | None = None) -> list[Answer]:
        """Greedy answers in the order of `prompts`, `batch_size` at once. `progress` names a bar."""
        return [self.read(row) for row in self.written(prompts, max_new_tokens, batch_size, progress)]

    def written(self, prompts: list[str], max_new_tokens: int, batch_size: int, progress: str | None = None) -> list[Row]:
        """The same as rows of tokens."""
        from tqdm import tqdm

        rows = [self.row(prompt, max_new_tokens) for prompt in prompts]
        waiting, batch = deque(sorted(rows, key=lambda row: -len(row.prompt))), Batch(self)
        with tqdm(total=len(prompts), desc=progress, unit=" answers", disable=progress is None, mininterval=1) as bar:
            while waiting or batch.rows:
                free = batch_size - len(batch.rows)
                if waiting and free >= max(1, batch_size // 4):  # reading prompts one by one would cost as much as a step each
                    batch.add([waiting.popleft() for _ in range(min(free, len(waiting)))])
                else:
                    batch.step()
                bar.update(len(batch.leave()))
        return rows


class Batch:
    """Rows that are generated together. Their keys and values are padded on the left, to the longest row's length."""

    def __init__(self, generator: Generator):
        self.rows: list[Row] = []
        self._generator = generator
        self._cache: list[Any] = []  # keys and values of each layer in turn, each (rows, heads, tokens, dimensions)
        self._mask: Any = None  # (rows, tokens): 1 where a row has a token, 0 where it is padded

    def add(self, rows: list[Row]) -> None:
        """Read the prompts of new rows and write the first token of each."""
        import torch

        width, device = max(len(row.prompt) for row in rows), self._generator.model.device
        tokens = torch.tensor([[0] * (width - len(row.prompt)) + row.prompt for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows], device=device)
        cache = self._write(rows, partial(_next, self._generator.model), tokens, mask, [])
        if self.rows:
            self._join(cache, mask)
        else:
            self._cache, self._mask = cache, mask
        self.rows = [*self.rows, *rows]

    def step(self) -> None:
        """Write one token of each row."""
        import torch

        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        last = torch.tensor([[row.tokens[-1]] for row in self.rows], device=self._mask.device)
        self._cache = self._write(self.rows, self._generator.step, last, self._mask, self._cache)

    def leave(self) -> list[Row]:
        """Take out the rows that have ended, and the padding that nobody needs any more."""
        import torch

        gone = [row for row in self.rows if self._generator.ended(row)]
        if gone:
            kept = [place for place, row in enumerate(self.rows) if row not in gone]
            self.rows = [self.rows[place] for place in kept]
            if kept:
                places = torch.tensor(kept, device=self._mask.device)
                width = int(self._mask[places].sum(1).max())
                self._mask = self._mask[places, -width:]
                self._cache = [part[places, :, -width:] for part in self._cache]
        return gone

    def _write(self, rows: list[Row], forward: Next, tokens: Any, mask: Any, cache: list[Any]) -> list[Any]:
        import torch

        with torch.inference_mode():
            found, cache = forward(tokens, mask, cache)
        for row, token in zip(rows, found.tolist(), strict=True):
            row.tokens.append(token)
        return cache

    def _join(self, cache: list[Any], mask: Any) -> None:
        """Put the keys and values of other rows below these."""
        import torch

        width = max(self._mask.shape[1], mask.shape[1])

        def together(one: Any, other: Any, after: int) -> Any:
            """`after` dimensions follow the one that is padded."""
            return torch.cat([torch.nn.functional.pad(part, (0, 0) * after + (width - part.shape[-1 - after], 0)) for part in (one, other)])

        self._mask = together(self._mask, mask, 0)
        self._cache = [together(part, new, 1) for part, new in zip(self._cache, cache, strict=True)]


def _next(model: Any, tokens: Any, mask: Any, cache: list[Any]) -> tuple[Any, list[Any]]:
    """The next token of each row after `tokens` (rows, new ones), and the cache with theirs. `mask` covers cached and new tokens."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    known = DynamicCache()  # without the model's configuration: every layer keeps all keys, so that rows of other lengths can join
    for keys, values in zip(cache[::2], cache[1::2], strict=True):
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        known.layers.append(layer)
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    logits = model(input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=known, use_cache=True, logits_to_keep=1).logits
    return logits[:, -1].argmax(-1), [part for layer in known.layers for part in (layer.keys, layer.values)]


def _recorded(model: Any, own: Next) -> tuple[Next | None, str]:
    """The operations of a step of one token, for any number of rows and cached tokens, or why there are none.

    A recording freezes what the model's Python decides, so decisions about values are refused, and what it gives is compared to the bit.
    """
    import torch

    def step(tokens: Any, mask: Any, cache: list[Any]) -> tuple[Any, list[Any]]:  # TorchScript takes functions alone
        return own(tokens, mask, cache)

    if any(type(weights.data) is not torch.Tensor for weights in model.parameters()):
        return None, "its weights are quantised, and a recording could hold them whole"
    model.requires_grad_(False)  # a recording holds the weights as constants
    with torch.no_grad(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            recorded: Next = torch.jit.trace(step, _example(model, own, 2, 4), check_trace=False)
        except Exception as error:  # whatever the model does that cannot be recorded
            return None, f"{type(error).__name__}: {error}"
        frozen = [one for one in said if issubclass(one.category, torch.jit.TracerWarning) and "output of the tracer" not in str(one.message) and not one.filename.endswith(ABOUT_LENGTHS)]
    if frozen:
        return None, f"{Path(frozen[0].filename).name}:{frozen[0].lineno} decides by values"
    for rows, tokens in CHECKED:
        example = _example(model, own, rows, tokens)
        with torch.inference_mode():
            for _ in range(3):  # TorchScript runs as recorded twice, then optimised
                (expected, parts), (given, others) = own(*example), recorded(*example)
                if not torch.equal(expected, given) or not all(torch.equal(part, other) for part, other in zip(parts, others, strict=True)):
                    return None, f"the recording differs for {rows} rows of {tokens} tokens"
    return recorded, ""


def _example(model: Any, own: Next, rows: int, tokens: int) -> tuple[Any, Any, list[Any]]:
    """Inputs of a step. Each row has padding: where none has any, transformers leaves the mask out and some kernels round otherwise (1e-7)."""
    import torch

    cached = (torch.arange(rows * tokens).reshape(rows, tokens) * 7) % model.config.vocab_size
    mask = (torch.arange(tokens + 1) > torch.arange(rows)[:, None] % (tokens - 1)).long()
    with torch.inference_mode():
        found, cache = own(cached, mask[:, :-1], [])
    return found[:, None].clone(), mask, [part.clone() for part in cache]


def load(base: Path, adapter: Path | None = None, precision: Literal["weights", "fp32"] = "weights", quantise: Callable[[Any], None] | None = None) -> Generator:
    """The base model, with the adapter merged into it where one is given (a folder of full weights takes the base's place).

    `precision`: computed as saved, or in fp32. `quantise` changes the weights before anything is computed.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    full = adapter is not None and not (adapter / "adapter_config.json").exists()
    weights = adapter if full else base
    model: Any = AutoModelForCausalLM.from_pretrained(str(weights), dtype="auto", local_files_only=True)
    if model._is_stateful:
        raise ValueError(f"{weights}: {type(model).__name__} keeps a state instead of keys and values; such rows cannot join and leave a batch: choose another base model")
    if adapter is not None and not full:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    model.generation_config = GenerationConfig()  # greedy, whatever sampling the base model's authors prefer
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = (model.float() if precision == "fp32" else model).to(device).eval()
    if quantise is not None:
        quantise(model)
    return Generator(model, tokenizer_of(base))


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a model folder, padding on the left with a token of its own or the end token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, padding_side="left")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
