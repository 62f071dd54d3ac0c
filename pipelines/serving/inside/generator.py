"""The Triton model `generator`: a prompt in, a greedy answer out, whole or piece by piece. Copied into the model repository as model.py.

Inputs: `prompt` (UTF-8); optional `max_new_tokens`, `stream`, `deadline` (seconds since 1970).
Outputs: `piece` (text since the last response), `answer` (whole text, with the last response), `num_prompt_tokens`, `num_new_tokens`, `final`.
The requests that Triton batched are generated together. Runs in Triton's own environment.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

CHECK_SECONDS = 0.02  # between two looks at the clock and at who has gone


class TritonPythonModel:
    """The class that Triton's Python back end looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the merged model from this version's folder."""
        here = Path(args["model_repository"]) / args["model_version"]
        sys.path.insert(0, str(here))
        import generation

        settings = json.loads((here / "settings.json").read_text())
        self.max_new_tokens, self.max_prompt_tokens = int(settings["max_new_tokens"]), int(settings["max_prompt_tokens"])
        self.generator = generation.load(here / "weights")

    def execute(self, requests: list[Any]) -> None:
        """Generate for all requests of the batch together; each gets its own error or answer."""
        rows = [_Row(request, self) for request in requests]
        working = [row for row in rows if row.problem is None]
        for row in rows:
            if row.problem is not None:
                row.fail(row.problem)
        if not working:
            return
        try:
            watch = _Watch(working, self.generator.tokenizer)
            answers = self.generator.batch([row.prompt for row in working], max(row.limit for row in working), watch)
        except Exception as error:  # whatever it was, each request of the batch must hear of it
            for row in working:
                row.fail(f"the generator failed: {type(error).__name__}: {error}")
            return
        for row, answer in zip(working, answers, strict=True):
            row.finish(answer)


class _Row:
    """One request of a batch."""

    def __init__(self, request: Any, model: TritonPythonModel):
        self.request, self.sender = request, request.get_response_sender()
        self.prompt = str(_value(request, "prompt", ""))
        self.limit = min(int(_value(request, "max_new_tokens", model.max_new_tokens)) or model.max_new_tokens, model.max_new_tokens)
        self.stream = bool(_value(request, "stream", False))
        self.deadline = float(_value(request, "deadline", 0.0)) or float("inf")
        self.sent, self.stopped = "", ""
        self.problem = self._problem(model)

    def _problem(self, model: TritonPythonModel) -> str | None:
        if self.limit < 1:
            return "max_new_tokens must be at least 1"
        length = len(model.generator.tokenizer(self.prompt)["input_ids"])
        if length > model.max_prompt_tokens:
            return f"the prompt has {length} tokens; the limit is {model.max_prompt_tokens}"
        if time.time() > self.deadline:
            return "the time limit passed before the generator could begin"
        return "the request was cancelled" if self.gone() else None

    def gone(self) -> bool:
        return bool(self.request.is_cancelled())

    def fail(self, message: str) -> None:
        import triton_python_backend_utils as triton

        code = triton.TritonError.CANCELLED if "cancelled" in message else triton.TritonError.INVALID_ARG if "limit is" in message else triton.TritonError.INTERNAL
        self.sender.send(triton.InferenceResponse(output_tensors=[], error=triton.TritonError(message, code)), flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def show(self, text: str) -> None:
        """Send what is new in `text`; a character that is not complete yet waits."""
        if len(text) > len(self.sent) and not text.endswith("\ufffd"):
            self._send(text[len(self.sent) :], "", 0, 0, final=False)
            self.sent = text

    def finish(self, answer: Any) -> None:
        if self.stopped:
            self.fail(self.stopped)
        else:
            self._send(answer.text[len(self.sent) :] if self.stream else "", answer.text, answer.num_prompt_tokens, answer.num_new_tokens, final=True)

    def _send(self, piece: str, answer: str, num_prompt: int, num_new: int, *, final: bool) -> None:
        import triton_python_backend_utils as triton

        texts = [triton.Tensor(name, np.array([[text.encode("utf-8")]], dtype=np.object_)) for name, text in (("piece", piece), ("answer", answer))]
        counts = [triton.Tensor(name, np.array([[count]], dtype=np.int32)) for name, count in (("num_prompt_tokens", num_prompt), ("num_new_tokens", num_new))]
        response = triton.InferenceResponse([*texts, *counts, triton.Tensor("final", np.array([[final]], dtype=np.bool_))])
        self.sender.send(response, flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0)


class _Watch:
    """After each token: send pieces to those who stream; stop rows that are long enough, too late or no longer wanted."""

    def __init__(self, rows: list[_Row], tokenizer: Any):
        self._rows, self._tokenizer, self._looked = rows, tokenizer, 0.0

    def __call__(self, tokens: list[list[int]]) -> list[bool]:
        end = self._tokenizer.eos_token_id
        for row, new in zip(self._rows, tokens, strict=True):
            if row.stream and not row.stopped and end not in new and len(new) <= row.limit:
                row.show(self._tokenizer.decode(new, skip_special_tokens=True).strip())
        if time.monotonic() - self._looked > CHECK_SECONDS:
            self._look()
        return [bool(row.stopped) or len(new) >= row.limit for row, new in zip(self._rows, tokens, strict=True)]

    def _look(self) -> None:
        self._looked = time.monotonic()
        for row in self._rows:
            if not row.stopped and row.gone():
                row.stopped = "the request was cancelled"
            elif not row.stopped and time.time() > row.deadline:
                row.stopped = "the time limit passed while the answer was generated"


def _value(request: Any, name: str, default: Any) -> Any:
    """The single value of an input, or `default` where the request has none."""
    import triton_python_backend_utils as triton

    tensor = triton.get_input_tensor_by_name(request, name)
    if tensor is None:
        return default
    value = tensor.as_numpy().reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
