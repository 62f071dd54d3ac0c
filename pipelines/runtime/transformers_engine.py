"""The engine `transformers`: PyTorch computes the model, and rows are batched here.

It runs where PyTorch does, on GPUs too, and with quantised weights.
"""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from . import generation, recording
from .generation import Batch, Generator, Precision, Row
from .recording import Step, StepInputs, StepResult


class TransformersGenerator(Generator):
    """A model of transformers and its tokenizer."""

    reads_on_joining = True

    def __init__(self, model: Any, tokenizer: Any):
        self.model = model
        self.tokenizer = tokenizer
        self.end_tokens = generation.end_tokens(model.generation_config.eos_token_id, tokenizer)

    def batch(self) -> "PaddedBatch":
        return PaddedBatch(self)

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


class PaddedBatch(Batch):
    """Rows whose keys and values are padded on the left, to the length of the longest row."""

    def __init__(self, generator: TransformersGenerator):
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
        cache = self._forward(self._own_step, rows, StepInputs(inputs, new_mask, []))
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
        inputs = StepInputs(last, self._mask, self._cache)
        self._cache = self._forward(self._generator.step, self.rows, inputs)

    def leave(self) -> list[Row]:
        """Take out the rows that are complete, and padding that is not needed any more."""
        complete = [row for row in self.rows if self._generator.is_complete(row)]
        if complete:
            remaining = [index for index, row in enumerate(self.rows) if row not in complete]
            self.rows = [self.rows[index] for index in remaining]
            if remaining:
                self._select(remaining)
        return complete

    def _own_step(self, tokens: Any, mask: Any, cache: list[Any]) -> StepResult:
        return own_step(self._generator.model, tokens, mask, cache)

    def _forward(self, step: Step, rows: list[Row], inputs: StepInputs) -> list[Any]:
        """Append the next token to each row; returns the new cache."""
        import torch

        with torch.inference_mode():
            tokens, log_probabilities, cache = step(*inputs)
        pairs = zip(tokens.tolist(), log_probabilities.tolist(), strict=True)
        for row, (token, log_probability) in zip(rows, pairs, strict=True):
            row.append(token, log_probability)
        return cache

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


def own_step(model: Any, tokens: Any, mask: Any, cache: list[Any]) -> StepResult:
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
    logits = output.logits[:, -1].float()
    best = logits.max(-1)
    return best.indices, best.values - logits.logsumexp(-1), new_cache


def load(
    base: Path,
    adapter: Path | None = None,
    precision: Precision = "weights",
    quantise: Callable[[Any], None] | None = None,
) -> TransformersGenerator:
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
    return TransformersGenerator(model, generation.tokenizer_of(base))


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
