"""The two language model backends: what a request to them holds and how their responses are read.

`python` is this project's generator.py. `vllm` is Triton's own vLLM backend: its sampling
parameters are JSON, and its responses are pieces of text with counts of tokens beside them.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import arrays
from .arrays import Arrays
from .status import RequestError, Status

# Triton's vLLM backend gives no code for a prompt that is too long, so its words must be read.
VLLM_TOO_LONG = "longer than the maximum model length"
ANSWER_FIELDS = ("piece", "answer", "num_prompt_tokens", "num_new_tokens", "mean_log_probability")


@dataclass(frozen=True)
class Task:
    """What a language model is asked to do."""

    prompt: str
    max_new_tokens: int
    stream: bool
    deadline: float  # seconds since 1970


def request(backend: str, task: Task, lora: str | None) -> Arrays:
    """The input arrays. `lora` names an adapter in vLLM's list."""
    return _vllm_request(task, lora) if backend == "vllm" else _python_request(task)


def _python_request(task: Task) -> Arrays:
    inputs = {
        "prompt": arrays.text(task.prompt),
        "max_new_tokens": np.array([task.max_new_tokens], dtype=np.int32),
        "stream": np.array([task.stream]),
        "deadline": np.array([task.deadline]),
    }
    return {name: array.reshape(1, 1) for name, array in inputs.items()}


def _vllm_request(task: Task, lora: str | None) -> Arrays:
    sampling: dict[str, Any] = {"max_tokens": task.max_new_tokens, "temperature": 0}
    if lora:
        sampling["lora_name"] = lora
    return {
        "text_input": arrays.text(task.prompt),
        "sampling_parameters": arrays.text(json.dumps(sampling)),
        "stream": np.array([task.stream]),
        "exclude_input_in_output": np.array([True]),
        "return_num_input_tokens": np.array([True]),
        "return_num_output_tokens": np.array([True]),
    }


def status_of(backend: str, error: RequestError) -> Status:
    """How a request ended that the language model did not answer."""
    if backend == "vllm" and VLLM_TOO_LONG in str(error):
        return Status.REJECTED
    return error.status


class Reading:
    """The responses to one request, in the order in which they arrive."""

    def __init__(self, backend: str):
        self._backend = backend
        self._text = ""  # vLLM's pieces so far
        self._answer = ""  # the same, stripped
        self._num_prompt_tokens = 0
        self._num_new_tokens = 0
        self._final: dict[str, Any] = {}

    def add(self, response: dict[str, Any]) -> str:
        """The new piece of text in a response."""
        if self._backend == "vllm":
            return self._add_from_vllm(response)
        if response["final"]:
            self._final = {name: response[name] for name in ANSWER_FIELDS}
            return ""
        return str(response["piece"])

    def _add_from_vllm(self, response: dict[str, Any]) -> str:
        self._text += response["text_output"]
        self._num_prompt_tokens = int(response["num_input_tokens"])
        self._num_new_tokens += int(response["num_output_tokens"])
        previous = self._answer
        self._answer = self._text.strip()
        return self._answer[len(previous) :]

    def final(self) -> dict[str, Any]:
        """The answer and its counts; empty if no answer came.

        `piece` is the part of the answer that `add` has not returned yet.
        """
        if self._backend == "vllm" and self._num_prompt_tokens:
            # vLLM is not asked for probabilities.
            values = ("", self._answer, self._num_prompt_tokens, self._num_new_tokens, None)
            return dict(zip(ANSWER_FIELDS, values, strict=True))
        return self._final
