"""How the assistant speaks with the language model's back end, inside Triton: what a request holds and how its responses are read.

`python` is this project's generator.py. `vllm` is Triton's own vLLM back end, whose sampling parameters come as JSON and whose responses are
pieces alone, with counts of tokens beside them.
"""

import json
from typing import Any

import numpy as np

TOO_LONG = ("limit is", "longer than the maximum model length")  # what the back ends say of a prompt that is too long


def request(backend: str, prompt: str, limit: int, stream: bool, deadline: float, lora: str | None) -> dict[str, Any]:
    """The input arrays. `limit`: new tokens; `deadline`: seconds since 1970."""
    if backend == "python":
        inputs = {"prompt": _text(prompt), "max_new_tokens": np.array([limit], dtype=np.int32), "stream": np.array([stream]), "deadline": np.array([deadline])}
        return {name: value.reshape(1, 1) for name, value in inputs.items()}
    sampling = {"max_tokens": limit, "temperature": 0, **({"lora_name": lora} if lora else {})}
    yes = dict.fromkeys(("exclude_input_in_output", "return_num_input_tokens", "return_num_output_tokens"), np.array([True]))
    return {"text_input": _text(prompt), "sampling_parameters": _text(json.dumps(sampling)), "stream": np.array([stream]), **yes}


class Reading:
    """The responses of one request, in the order in which they come."""

    def __init__(self, backend: str):
        self._backend, self._text, self._shown, self._counts, self._final = backend, "", "", [0, 0], dict[str, Any]()

    def add(self, found: dict[str, Any]) -> str:
        """The new piece of text that a response brought."""
        if self._backend == "python":
            self._final = {name: found[name] for name in ("piece", "answer", "num_prompt_tokens", "num_new_tokens")} if found["final"] else {}
            return "" if found["final"] else str(found["piece"])
        self._text += found["text_output"]
        self._counts = [int(found["num_input_tokens"]), self._counts[1] + int(found["num_output_tokens"])]
        before, self._shown = self._shown, self._text.strip()
        return self._shown[len(before) :]

    def final(self) -> dict[str, Any]:
        """Answer and counts; `piece` is what of it has not been given yet. Empty where no answer came."""
        if self._backend == "vllm" and self._counts[0]:
            return {"piece": "", "answer": self._shown, "num_prompt_tokens": self._counts[0], "num_new_tokens": self._counts[1]}
        return self._final


def _text(content: str) -> Any:
    return np.array([content.encode("utf-8")], dtype=np.object_)
