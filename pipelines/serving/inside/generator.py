"""The Triton model `generator`: a prompt in, a greedy answer out, whole or piece by piece. Copied into the model repository as model.py.

Inputs: `prompt` (UTF-8); optional `max_new_tokens`, `stream`, `deadline` (seconds since 1970).
Outputs: `piece` (text since the last response), `answer` (whole text, with the last response), `num_prompt_tokens`, `num_new_tokens`, `final`.
One thread writes a token of every request under way, again and again; requests join it and leave it between two tokens (generation.py).
Reading one prompt takes as long as a token of all, and so do a few prompts together: who comes waits for company, for a few tokens at most.
Triton's batcher collects what comes while a token is written and hands it over together. Runs in Triton's own environment.
"""

import json
import os
import queue
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

LOOK_SECONDS = 0.02  # between two looks at the clock and at who has gone
COUNT_SECONDS = 0.5  # between two reports to the server's metrics
JOIN_TOGETHER, JOIN_STEPS = 4, 4  # that many join at once, and after that many tokens of the others fewer do
LIMIT, CANCELLED, LATE = "limit is", "the request was cancelled", "the time limit passed"


class TritonPythonModel:
    """The class that Triton's Python back end looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the merged model from this version's folder."""
        here = Path(args["model_repository"]) / args["model_version"]
        sys.path.insert(0, str(here))
        import exchange
        import generation
        import quantisation
        import torch

        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))  # one core for the encoder, the search and the rest
        self.exchange, self.generation, self.settings = exchange, generation, json.loads((here / "settings.json").read_text())
        kind = self.settings["quantisation"]
        quantise = None if kind == "none" else partial(quantisation.quantise, kind=kind)
        self.generator = generation.load(here / "weights", precision=self.settings["precision"], quantise=quantise)
        self.batch = generation.Batch(self.generator)
        self.came: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self.places = threading.Semaphore(int(json.loads(args["model_config"])["max_batch_size"]))
        self.waiting: list[_Request] = []
        self.working: list[_Request] = []
        self.steps_since_join = 0
        self.looked, self.steps = 0.0, _Steps(args["model_name"])
        self.thread = threading.Thread(target=self._work, name="generation")
        self.thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Hand the requests over. Returns when the token at hand is written, so that Triton batches those that come meanwhile."""
        asked = [_Request(request, self) for request in requests]
        good = [one for one in asked if one.problem is None]
        for one in asked:
            if one.problem is not None:
                one.fail(one.problem)
        for one in good:
            self.places.acquire()
            self.came.put(one)
        for one in good:
            one.taken.wait()

    def finalize(self) -> None:
        """Finish what has begun."""
        self.came.put(None)
        self.thread.join()
        del self.steps  # a counter that is left to the end of the process ends it with a segmentation fault

    def _work(self) -> None:
        """Let requests join, write a token of each, let those that are ready leave; until the end."""
        ended = False
        while not ended or self.waiting or self.working:
            came = self._came()
            ended = ended or None in came
            self.waiting += [one for one in came if one is not None]
            try:
                self._round()
            except Exception as error:  # whatever it was, each request under way must hear of it, and the next ones begin anew
                for one in self.working:
                    one.fail(f"the generator failed: {type(error).__name__}: {error}")
                self._leave(self.working)
                self.batch = self.generation.Batch(self.generator)

    def _came(self) -> list["_Request | None"]:
        """Who has come; waits for somebody where nothing is under way."""
        found: list[_Request | None] = []
        if not self.waiting and not self.working:
            self.steps.report()
            found.append(self.came.get())
        while not self.came.empty():
            found.append(self.came.get())
        for one in found:
            if one is not None:
                one.taken.set()
        return found

    def _round(self) -> None:
        if self.waiting and (not self.working or len(self.waiting) >= JOIN_TOGETHER or self.steps_since_join >= JOIN_STEPS):
            self._join()
        elif self.batch.rows:
            self.batch.step()
            self.steps_since_join += 1
            self.steps.count(len(self.batch.rows))
        self._deliver()

    def _join(self) -> None:
        joining, self.waiting, self.steps_since_join = self.waiting, [], 0
        self.working += joining
        for one in joining:
            one.look()
        new = [one.row for one in joining if not one.row.stopped]
        if new:
            self.batch.add(new)

    def _deliver(self) -> None:
        """Pieces to those who stream; whole answers to those whose row has ended; an end to those who are too late or have gone."""
        if time.monotonic() - self.looked > LOOK_SECONDS:
            self.looked = time.monotonic()
            for one in self.working:
                one.look()
        self.batch.leave()
        for one in self.working:
            if one.stream and not one.row.stopped:
                one.show()
        ready = [one for one in self.working if self.generator.ended(one.row)]
        for one in ready:
            one.finish()
        self._leave(ready)

    def _leave(self, ready: list["_Request"]) -> None:
        self.working = [one for one in self.working if one not in ready]
        for _ in ready:
            self.places.release()


class _Request:
    """One request and its row."""

    def __init__(self, request: Any, model: TritonPythonModel):
        self.exchange, self.generator, self.reply = model.exchange, model.generator, model.exchange.Reply(request)
        most = int(model.settings["max_new_tokens"])
        limit = min(int(self.exchange.value(request, "max_new_tokens", 0)) or most, most)
        self.stream = bool(self.exchange.value(request, "stream", False))
        self.deadline = float(self.exchange.value(request, "deadline", 0.0)) or float("inf")
        self.row = model.generator.row(str(self.exchange.value(request, "prompt", "")), limit)
        self.taken, self.sent, self.stopped = threading.Event(), "", ""
        self.problem = self._problem(limit, len(self.row.prompt), int(model.settings["max_prompt_tokens"]))

    def _problem(self, limit: int, length: int, longest: int) -> str | None:
        if limit < 1:
            return "max_new_tokens must be at least 1"
        if length > longest:
            return f"the prompt has {length} tokens; the {LIMIT} {longest}"
        return "the prompt is empty" if length == 0 else None

    def look(self) -> None:
        """Stop the row where nobody waits for it any more."""
        if not self.row.stopped:
            self.stopped = CANCELLED if self.reply.gone() else LATE + " while the answer was generated" if time.time() > self.deadline else ""
            self.row.stopped = bool(self.stopped)

    def fail(self, message: str) -> None:
        import triton_python_backend_utils as triton

        code = triton.TritonError.CANCELLED if message == CANCELLED else triton.TritonError.INVALID_ARG if LIMIT in message else triton.TritonError.INTERNAL
        self.reply.send(triton.InferenceResponse(output_tensors=[], error=triton.TritonError(message, code)), last=True)
        self.row.stopped = True

    def show(self) -> None:
        """Send what is new; a character that is not complete yet waits."""
        text = self.generator.read(self.row).text
        if len(text) > len(self.sent) and not text.endswith("\ufffd"):
            self._send(text[len(self.sent) :], "", 0, 0, final=False)
            self.sent = text

    def finish(self) -> None:
        if self.stopped:
            self.fail(self.stopped)
        else:
            answer = self.generator.read(self.row)
            self._send(answer.text[len(self.sent) :] if self.stream else "", answer.text, answer.num_prompt_tokens, answer.num_new_tokens, final=True)

    def _send(self, piece: str, answer: str, num_prompt: int, num_new: int, *, final: bool) -> None:
        import triton_python_backend_utils as triton

        texts = [triton.Tensor(name, np.array([[text.encode("utf-8")]], dtype=np.object_)) for name, text in (("piece", piece), ("answer", answer))]
        counts = [triton.Tensor(name, np.array([[count]], dtype=np.int32)) for name, count in (("num_prompt_tokens", num_prompt), ("num_new_tokens", num_new))]
        self.reply.send(triton.InferenceResponse([*texts, *counts, triton.Tensor("final", np.array([[final]], dtype=np.bool_))]), last=final)


class _Steps:
    """Prometheus counter of the server's own metrics endpoint: steps by the number of rows in them. A step writes one token of each row."""

    def __init__(self, model: str):
        import triton_python_backend_utils as triton

        self._model, self._counted, self._known, self._reported = model, dict[int, int](), dict[int, Any](), 0.0
        self._family = triton.MetricFamily(name="generator_steps_total", description="Steps of the language model by the number of requests in them", kind=triton.MetricFamily.COUNTER)

    def count(self, rows: int) -> None:
        self._counted[rows] = self._counted.get(rows, 0) + 1
        if time.monotonic() - self._reported > COUNT_SECONDS:
            self.report()

    def report(self) -> None:
        for rows, number in self._counted.items():
            if rows not in self._known:
                self._known[rows] = self._family.Metric(labels={"model": self._model, "rows": str(rows)})
            self._known[rows].increment(number)
        self._counted.clear()
        self._reported = time.monotonic()
