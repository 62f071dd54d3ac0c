"""The engine `openvino`: OpenVINO GenAI computes and batches, on a CPU.

A folder holds the model's graph with its weights (openvino_model.xml and .bin), config.json,
generation_config.json and the tokenizer of transformers, which makes the tokens here as everywhere.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from . import generation
from .generation import Batch, Generator, Precision, Row

GRAPH = "openvino_model.xml"
# Of prompts and answers in one step. A prompt is read in parts of this size beside the others'
# next tokens.
MAX_STEP_TOKENS = 256


class OpenVinoGenerator(Generator):
    """A model that OpenVINO GenAI has loaded, and its tokenizer."""

    reads_on_joining = False

    def __init__(self, pipeline: Any, tokenizer: Any, end_tokens: frozenset[int]):
        self.pipeline = pipeline
        self.tokenizer = tokenizer
        self.end_tokens = end_tokens
        self.num_requests = 0  # so far; numbers them

    def batch(self) -> "OpenVinoBatch":
        return OpenVinoBatch(self)

    def request(self, row: Row) -> Any:
        """Give a row to the library; returns its handle."""
        import openvino

        self.num_requests += 1
        tokens = openvino.Tensor(np.array([row.prompt], dtype=np.int64))
        return self.pipeline.add_request(self.num_requests, tokens, self._config(row))

    def _config(self, row: Row) -> Any:
        """Greedy, with the probability of each token."""
        import openvino_genai

        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = row.max_new_tokens
        config.do_sample = False
        config.apply_chat_template = False
        config.stop_token_ids = set(self.end_tokens)
        config.logprobs = 1
        return config


class OpenVinoBatch(Batch):
    """Rows with the library's handles."""

    def __init__(self, generator: OpenVinoGenerator):
        self.rows: list[Row] = []
        self._generator = generator
        self._handles: dict[Row, Any] = {}

    def add(self, rows: list[Row]) -> None:
        for row in rows:
            self._handles[row] = self._generator.request(row)
        self.rows = [*self.rows, *rows]

    def step(self) -> None:
        self._generator.pipeline.step()
        for row, handle in self._handles.items():
            while handle.can_read():
                _read(handle, row)
            _demand_not_ignored(handle, row)

    def leave(self) -> list[Row]:
        complete = [row for row in self.rows if self._generator.is_complete(row)]
        for row in complete:
            # The library itself ends a row at its limit or end token, and these it must not know.
            handle = self._handles.pop(row)
            if row.is_stopped:
                handle.cancel()
        self.rows = [row for row in self.rows if row in self._handles]
        return complete


def _read(handle: Any, row: Row) -> None:
    """Append the tokens that the library has written."""
    for output in handle.read().values():
        pairs = zip(output.generated_ids, output.generated_log_probs, strict=True)
        for token, log_probability in pairs:
            row.append(token, log_probability)


def _demand_not_ignored(handle: Any, row: Row) -> None:
    """Raises MemoryError if the library has dropped a row."""
    import openvino_genai

    if handle.get_status() == openvino_genai.GenerationStatus.IGNORED:
        raise MemoryError(
            f"no memory is left for the keys and values of a prompt of {len(row.prompt)} tokens"
        )


def load(
    folder: Path, precision: Precision, max_rows: int, num_threads: int | None = None
) -> OpenVinoGenerator:
    """The model of a folder. `max_rows`: at once. `num_threads`: None for one on each core.

    `precision`: computed in fp32, or as the weights are saved.
    """
    pipeline = _open_pipeline(folder, precision, max_rows, num_threads)
    tokenizer = generation.tokenizer_of(folder)
    configuration = json.loads((folder / "generation_config.json").read_text())
    ends = generation.end_tokens(configuration.get("eos_token_id"), tokenizer)
    return OpenVinoGenerator(pipeline, tokenizer, ends)


def _open_pipeline(
    folder: Path, precision: Precision, max_rows: int, num_threads: int | None
) -> Any:
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.dynamic_split_fuse = True
    scheduler.enable_prefix_caching = True
    scheduler.max_num_batched_tokens = max(MAX_STEP_TOKENS, max_rows)
    scheduler.max_num_seqs = max_rows
    kind = _number_format(folder, precision)
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": kind, "KV_CACHE_PRECISION": kind}
    # OpenVINO 2026.4 ends the process (a division by zero) if one thread computes in bf16 by AMX.
    if num_threads is not None and (num_threads > 1 or kind != "bf16"):
        properties["INFERENCE_NUM_THREADS"] = num_threads
    return openvino_genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU", properties)


def _number_format(folder: Path, precision: Precision) -> str:
    """In what OpenVINO computes, in its own words.

    bf16 on a CPU that does not compute in it would be slower than fp32.
    """
    if precision == "fp32":
        return "f32"
    configuration = json.loads((folder / "config.json").read_text())
    is_half = configuration.get("dtype") == "bfloat16"
    return "bf16" if is_half and _computes_in_bf16() else "f32"


def _computes_in_bf16() -> bool:
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


def holds_graph(folder: Path) -> bool:
    """Whether a model folder was written for this engine."""
    return (folder / GRAPH).is_file()
