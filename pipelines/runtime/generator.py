"""The Triton model `generator`: a prompt in, a greedy answer out, whole or piece by piece.

Inputs: `prompt` (UTF-8; messages as JSON if the settings say `takes_messages`, see rendering.py);
optional `max_new_tokens`, `stream`, `deadline` (seconds since 1970).
Outputs: `piece` (text since the last response), `answer` (whole text, with the last response),
`num_prompt_tokens`, `num_new_tokens`, `mean_log_probability`, `final`.

One thread writes a token of every request under way, again and again; requests join it and leave it
between two tokens (generation.py). In the engine `transformers`, reading one prompt takes as long
as writing a token of all, and so does reading a few prompts together: new requests wait for
company, for a few tokens at most. Triton's batcher collects the requests that arrive while a token
is written and hands them over together.
"""

import json
import os
import queue
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from . import arrays, exchange, generation, rendering
from .metrics import StepCounter
from .status import RequestError, Status

POLL_SECONDS = 0.02  # between two looks at the clock and at clients that have left
# So many requests join at once; after so many tokens of the others, fewer join too.
JOIN_TOGETHER = 4
JOIN_STEPS = 4
INCOMPLETE = "\ufffd"  # what the tokenizer writes for a character of which tokens are missing


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the merged model from this version's folder."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.settings = json.loads((folder / "settings.json").read_text())
        max_batch_size = int(json.loads(args["model_config"])["max_batch_size"])
        self.generator = _load(folder / "weights", self.settings, max_batch_size)
        self.batch = self.generator.batch()
        self.arrivals: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.slots = threading.Semaphore(max_batch_size)
        self.waiting: list[Job] = []
        self.working: list[Job] = []
        self.steps_since_join = 0
        self.poll_time = 0.0
        self.steps = StepCounter(args["model_name"])
        self.thread = threading.Thread(target=self._work, name="generation")
        self.thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Hand the requests over.

        Returns when the token under way is written, so that Triton batches those that arrive
        meanwhile.
        """
        jobs: list[Job] = []
        for request in requests:
            reply = exchange.Reply(request)
            try:
                jobs.append(Job(request, reply, self.generator, self.settings))
            except RequestError as error:
                reply.fail(error.status, str(error))
        for job in jobs:
            self.slots.acquire()
            self.arrivals.put(job)
        for job in jobs:
            job.is_taken.wait()

    def finalize(self) -> None:
        """Finish the requests under way."""
        self.arrivals.put(None)
        self.thread.join()
        del self.steps  # see metrics.py

    def _work(self) -> None:
        """Let requests join, write a token of each, let those that are ready leave."""
        is_closing = False
        while not is_closing or self.waiting or self.working:
            for job in self._take_arrivals():
                if job is None:
                    is_closing = True
                else:
                    job.is_taken.set()
                    self.waiting.append(job)
            try:
                self._advance()
            except Exception as error:
                self._fail_all(f"the generator failed: {type(error).__name__}: {error}")

    def _fail_all(self, message: str) -> None:
        """End each request under way with this error; the next ones begin with a fresh batch."""
        for job in self.working:
            job.fail(RequestError(Status.FAILED, message))
        for job in self.working:
            job.row.is_stopped = True
        self.batch.leave()
        self._leave(self.working)
        self.batch = self.generator.batch()

    def _take_arrivals(self) -> list["Job | None"]:
        """The requests that have arrived; waits for one if nothing is under way."""
        arrivals: list[Job | None] = []
        if not self.waiting and not self.working:
            self.steps.report()
            arrivals.append(self.arrivals.get())
        while not self.arrivals.empty():
            arrivals.append(self.arrivals.get())
        return arrivals

    def _advance(self) -> None:
        has_joined = bool(self.waiting) and self._is_time_to_join()
        if has_joined:
            self._join()
        # Where joining reads the prompts, it has written a token already.
        if self.batch.rows and not (has_joined and self.generator.reads_on_joining):
            self.batch.step()
            self.steps_since_join += 1
            self.steps.count(len(self.batch.rows))
        self._deliver()

    def _is_time_to_join(self) -> bool:
        if not self.generator.reads_on_joining:
            return True
        is_large = len(self.waiting) >= JOIN_TOGETHER
        return not self.working or is_large or self.steps_since_join >= JOIN_STEPS

    def _join(self) -> None:
        joining = self.waiting
        self.waiting = []
        self.steps_since_join = 0
        self.working += joining
        for job in joining:
            job.check_client()
        rows = [job.row for job in joining if not job.row.is_stopped]
        if rows:
            self.batch.add(rows)

    def _deliver(self) -> None:
        """Send pieces to those who stream, and end the requests that are ready, late or left."""
        if time.monotonic() - self.poll_time > POLL_SECONDS:
            self.poll_time = time.monotonic()
            for job in self.working:
                job.check_client()
        self.batch.leave()
        for job in self.working:
            if job.stream and not job.row.is_stopped:
                job.send_piece()
        ready = [job for job in self.working if self.generator.is_complete(job.row)]
        for job in ready:
            job.finish()
        self._leave(ready)

    def _leave(self, ready: list["Job"]) -> None:
        self.working = [job for job in self.working if job not in ready]
        for _ in ready:
            self.slots.release()


class Job:
    """One request and its row. The constructor raises RequestError if it breaks a limit."""

    def __init__(
        self,
        request: Any,
        reply: exchange.Reply,
        generator: generation.Generator,
        settings: dict[str, Any],
    ):
        max_new_tokens = int(settings["max_new_tokens"])
        limit = int(exchange.value(request, "max_new_tokens", 0)) or max_new_tokens
        text = str(exchange.value(request, "prompt", ""))
        self.reply = reply
        self.generator = generator
        self.stream = bool(exchange.value(request, "stream", False))
        self.deadline = float(exchange.value(request, "deadline", 0.0)) or float("inf")
        try:
            prompt = rendering.unpack(text, bool(settings["takes_messages"]))
            self.row = generator.row(prompt, min(limit, max_new_tokens))
        except ValueError as error:
            raise RequestError(Status.REJECTED, str(error)) from error
        self.is_taken = threading.Event()
        self.sent_text = ""  # the part of the answer that was streamed
        self.stop_reason: RequestError | None = None
        _check(self.row, int(settings["max_prompt_tokens"]))

    def check_client(self) -> None:
        """Stop the row if nobody waits for it any more."""
        if self.row.is_stopped:
            return
        if self.reply.is_abandoned():
            self._stop(RequestError(Status.CANCELLED, "the request was cancelled"))
        elif time.time() > self.deadline:
            message = "the time limit passed while the answer was generated"
            self._stop(RequestError(Status.FAILED, message))

    def fail(self, error: RequestError) -> None:
        """End the request with this error."""
        self.reply.fail(error.status, str(error))
        self.row.is_stopped = True

    def send_piece(self) -> None:
        """Send what is new; a character that is not complete yet waits."""
        text = self.generator.read(self.row).text
        if len(text) > len(self.sent_text) and not text.endswith(INCOMPLETE):
            piece = text[len(self.sent_text) :]
            self.reply.send(_tensors(piece, None), last=False)
            self.sent_text = text

    def finish(self) -> None:
        """End the request with its answer, or with the reason why it was stopped."""
        if self.stop_reason is not None:
            self.fail(self.stop_reason)
            return
        answer = self.generator.read(self.row)
        last_piece = answer.text[len(self.sent_text) :] if self.stream else ""
        self.reply.send(_tensors(last_piece, answer), last=True)

    def _stop(self, reason: RequestError) -> None:
        self.stop_reason = reason
        self.row.is_stopped = True


def _load(weights: Path, settings: dict[str, Any], max_rows: int) -> generation.Generator:
    """The model in its engine. One core is left for the encoder, the search and the rest."""
    num_threads = max(1, len(os.sched_getaffinity(0)) - 1)
    if settings["engine"] == "openvino":
        from . import openvino_engine

        return openvino_engine.load(weights, settings["precision"], max_rows, num_threads)
    import torch

    from . import quantisation, transformers_engine

    torch.set_num_threads(num_threads)
    kind = settings["quantisation"]
    quantise = None if kind == "none" else partial(quantisation.quantise, kind=kind)
    return transformers_engine.load(weights, precision=settings["precision"], quantise=quantise)


def _check(row: generation.Row, max_prompt_tokens: int) -> None:
    """Raises RequestError if the row breaks a limit."""
    length = len(row.prompt)
    if row.max_new_tokens < 1:
        raise RequestError(Status.REJECTED, "max_new_tokens must be at least 1")
    if length > max_prompt_tokens:
        message = f"the prompt has {length} tokens; the limit is {max_prompt_tokens}"
        raise RequestError(Status.REJECTED, message)
    if length == 0:
        raise RequestError(Status.REJECTED, "the prompt is empty")


def _tensors(piece: str, answer: generation.Answer | None) -> list[Any]:
    """One response; the last one holds the whole answer."""
    last = answer or generation.Answer("", 0, 0, 0.0)
    outputs = {
        "piece": arrays.text(piece),
        "answer": arrays.text(last.text),
        "num_prompt_tokens": np.array([last.num_prompt_tokens], dtype=np.int32),
        "num_new_tokens": np.array([last.num_new_tokens], dtype=np.int32),
        "mean_log_probability": np.array([last.mean_log_probability], dtype=np.float32),
        "final": np.array([answer is not None]),
    }
    # The model is batched, so each output has a row for its one request.
    return [triton.Tensor(name, array.reshape(1, 1)) for name, array in outputs.items()]
