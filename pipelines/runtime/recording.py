"""Records the operations of one generation step, so that they run without the library's Python.

Of a small model's step on a CPU, most is the library's Python. A recording freezes what that Python
decides: decisions about values are therefore refused, and the recording's results are compared with
the model's own to the bit.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# The next token of each row, the logarithm of its probability, and the new cache.
StepResult = tuple[Any, Any, list[Any]]
# (tokens, mask, cache) -> the result, whose cache also holds the keys and values of `tokens`.
# Shapes: tokens (rows, new ones); mask (rows, cached and new ones), 1 for a token, 0 for padding;
# the cache holds keys and values of each layer in turn.
Step = Callable[[Any, Any, list[Any]], StepResult]

# Files of transformers whose decisions come out the same in each step of one token.
SAFE_FILES = ("cache_utils.py", "masking_utils.py", "sdpa_attention.py")
# Rows and cached tokens with which a recording is compared.
COMPARISONS = ((1, 3), (5, 40))
# TorchScript runs a recording twice as it is, then optimises it.
NUM_RUNS = 3


class Recording(NamedTuple):
    """A recorded step, or the reason why there is none."""

    step: Step | None
    reason: str


class StepInputs(NamedTuple):
    """Inputs of a step."""

    tokens: Any
    mask: Any
    cache: list[Any]


def record(model: Any, own: Step) -> Recording:
    """Record `own`, a step of one token, for any number of rows and cached tokens."""
    import torch

    weights = [parameter.data for parameter in model.parameters()]
    if any(type(tensor) is not torch.Tensor for tensor in weights):
        reason = "its weights are quantised, and a recording could hold them in full size"
        return Recording(None, reason)
    model.requires_grad_(False)  # a recording holds the weights as constants
    recording = _trace(model, own)
    if recording.step is None:
        return recording
    for rows, tokens in COMPARISONS:
        inputs = example(model, own, rows, tokens)
        if not _is_same(own, recording.step, inputs):
            reason = f"the recording differs for {rows} rows of {tokens} tokens"
            return Recording(None, reason)
    return recording


def example(model: Any, own: Step, rows: int, tokens: int) -> StepInputs:
    """Inputs of a step with so many rows and cached tokens. Each row has padding.

    If no row has any, transformers leaves the mask out, and some kernels round differently (1e-7).
    """
    import torch

    numbers = torch.arange(rows * tokens).reshape(rows, tokens)
    cached_tokens = (numbers * 7) % model.config.vocab_size
    num_padding = torch.arange(rows)[:, None] % (tokens - 1)
    mask = (torch.arange(tokens + 1) > num_padding).long()
    with torch.inference_mode():
        token, _, cache = own(cached_tokens, mask[:, :-1], [])
    return StepInputs(token[:, None].clone(), mask, [part.clone() for part in cache])


def _trace(model: Any, own: Step) -> Recording:
    """The recording before it is compared."""
    import torch

    # TorchScript takes nothing but functions.
    def step(tokens: Any, mask: Any, cache: list[Any]) -> StepResult:
        return own(tokens, mask, cache)

    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inputs = tuple(example(model, own, 2, 4))
        try:
            traced_step: Step = torch.jit.trace(step, inputs, check_trace=False)
        except Exception as error:  # whatever the model does that cannot be recorded
            return Recording(None, f"{type(error).__name__}: {error}")
    for warning in caught:
        if _is_frozen_decision(warning):
            location = f"{Path(warning.filename).name}:{warning.lineno}"
            return Recording(None, f"{location} decides by values")
    return Recording(traced_step, "")


def _is_frozen_decision(warning: warnings.WarningMessage) -> bool:
    """Whether a warning says that the recording froze a decision about values."""
    import torch

    return (
        issubclass(warning.category, torch.jit.TracerWarning)
        and "output of the tracer" not in str(warning.message)
        and not warning.filename.endswith(SAFE_FILES)
    )


def _is_same(own: Step, traced_step: Step, inputs: StepInputs) -> bool:
    """Whether a recording gives the model's own tokens, keys and values to the bit."""
    import torch

    with torch.inference_mode():
        for _ in range(NUM_RUNS):
            own_token, own_log_probability, own_cache = own(*inputs)
            token, log_probability, cache = traced_step(*inputs)
            expected = [own_token, own_log_probability, *own_cache]
            pairs = zip(expected, [token, log_probability, *cache], strict=True)
            if not all(torch.equal(own_part, part) for own_part, part in pairs):
                return False
    return True
