"""Ways to get greedy answers: through Triton, and from bare engines with the same weights."""

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipelines.runtime import arrays, peer, rendering
from pipelines.runtime.prompt_tokens import prompt_tokens
from pipelines.serving import client
from pipelines.serving.triton_connection import Triton
from tests.bench.served_questions import Request

MAX_SECONDS = 120.0  # for a request to Triton
MAX_CONTEXT = 2048  # tokens of prompt and answer


class Cost(NamedTuple):
    """What an answer cost. Its end token is not counted."""

    num_prompt_tokens: int
    num_new_tokens: int
    first_seconds: float  # until the first text, where that was looked at
    seconds: float


class Engine(ABC):
    """Something that answers."""

    name: str

    @abstractmethod
    def ask(self, request: Request) -> Cost:
        """For a single asker, who waits for the answer."""

    @abstractmethod
    def ask_all(self, requests: list[Request], num_at_once: int) -> list[Cost]:
        """For so many askers at once. `seconds` of each cost may be 0."""


class ServedModel(Engine):
    """A model in Triton, asked by threads."""

    def ask_all(self, requests: list[Request], num_at_once: int) -> list[Cost]:
        with ThreadPoolExecutor(num_at_once) as pool:
            return list(pool.map(self.ask, requests))


class Assistant(ServedModel):
    """What users ask: guard, encoder, search, model, citations, log."""

    name = "assistant in Triton"

    def __init__(self, triton: Triton):
        self.triton = triton

    def ask(self, request: Request) -> Cost:
        start = time.perf_counter()
        first_seconds = 0.0
        for part in client.stream(request.question, self.triton):
            first_seconds = first_seconds or time.perf_counter() - start
            if isinstance(part, client.Answer):
                answer = part
        seconds = time.perf_counter() - start
        return Cost(answer.num_prompt_tokens, answer.num_new_tokens, first_seconds, seconds)


class ServedGenerator(ServedModel):
    """The language model alone, with one connection for each thread."""

    name = "generator in Triton"

    def __init__(self, triton: Triton, release_id: str):
        self.address = f"127.0.0.1:{triton.grpc_port}"
        self.model = f"generator-{release_id}"
        self.thread = threading.local()

    def ask(self, request: Request) -> Cost:
        start = time.perf_counter()
        first_seconds = 0.0
        for response in self.responses(request, is_streamed=True):
            first_seconds = first_seconds or time.perf_counter() - start
            last = response
        seconds = time.perf_counter() - start
        num_prompt_tokens = int(arrays.value(last["num_prompt_tokens"]))
        num_new_tokens = int(arrays.value(last["num_new_tokens"]))
        return Cost(num_prompt_tokens, num_new_tokens, first_seconds, seconds)

    def responses(self, request: Request, *, is_streamed: bool) -> Iterator[arrays.Arrays]:
        """Its outputs piece by piece, or all at once."""
        inputs = {
            "prompt": arrays.text(rendering.pack(request.prompt)).reshape(1, 1),
            "stream": np.array([[is_streamed]]),
        }
        yield from self._server().stream(self.model, "", inputs, MAX_SECONDS)

    def _server(self) -> peer.Server:
        if not hasattr(self.thread, "server"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ASSISTANT_GRPC", self.address)
                self.thread.server = peer.Server()
        server: peer.Server = self.thread.server
        return server


class BareOpenVino(Engine):
    """OpenVINO GenAI's continuous batching with the scheduler as the library has it."""

    name = "bare OpenVINO GenAI"

    def __init__(self, folder: Path, tokenizer: Any, end_tokens: frozenset[int], max_new: int):
        import openvino_genai

        kind = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
        scheduler = openvino_genai.SchedulerConfig()
        self.pipeline = openvino_genai.ContinuousBatchingPipeline(
            str(folder), scheduler, "CPU", kind
        )
        self.tokenizer = tokenizer
        self.config = openvino_genai.GenerationConfig(max_new_tokens=max_new)
        self.config.do_sample = False
        self.config.stop_token_ids = set(end_tokens)
        self.num_requests = 0

    def ask(self, request: Request) -> Cost:
        (cost,) = self.ask_all([request], 1)
        return cost

    def ask_all(self, requests: list[Request], num_at_once: int) -> list[Cost]:
        start = time.perf_counter()
        waiting = list(enumerate(requests))
        handles: dict[int, Any] = {}
        costs: dict[int, Cost] = {}
        while waiting or handles:
            while waiting and len(handles) < num_at_once:
                number, request = waiting.pop(0)
                tokens = prompt_tokens(self.tokenizer, request.prompt)
                handles[number] = self._request(tokens)
                costs[number] = Cost(len(tokens), 0, 0.0, 0.0)
            self.pipeline.step()
            for number in list(handles):
                costs[number] = self._read(handles[number], costs[number], start)
                if costs[number].seconds:
                    del handles[number]
        return [costs[number] for number in range(len(requests))]

    def _request(self, tokens: list[int]) -> Any:
        import openvino

        self.num_requests += 1
        tensor = openvino.Tensor(np.array([tokens], dtype=np.int64))
        return self.pipeline.add_request(self.num_requests, tensor, self.config)

    def _read(self, handle: Any, cost: Cost, start: float) -> Cost:
        """The cost so far; its seconds are 0 until the answer is complete."""
        from openvino_genai import GenerationStatus

        is_complete = handle.get_status() != GenerationStatus.RUNNING
        num_new_tokens = cost.num_new_tokens
        while handle.can_read():
            for output in handle.read().values():
                tokens = output.generated_ids
                num_new_tokens += sum(token not in self.config.stop_token_ids for token in tokens)
        seconds = time.perf_counter() - start
        has_begun = num_new_tokens > 0
        first_seconds = cost.first_seconds or (seconds if has_begun else 0.0)
        total_seconds = seconds if is_complete else 0.0
        return Cost(cost.num_prompt_tokens, num_new_tokens, first_seconds, total_seconds)


class BareTransformers(Engine):
    """`transformers.generate`, in batches that end with their longest answer."""

    name = "transformers.generate"

    def __init__(self, model: Any, tokenizer: Any, end_tokens: frozenset[int], max_new: int):
        self.model = model
        self.tokenizer = tokenizer
        self.end_tokens = end_tokens
        self.max_new = max_new

    def ask(self, request: Request) -> Cost:
        from transformers.generation.streamers import BaseStreamer

        times: list[float] = []

        class Clock(BaseStreamer):  # type: ignore[misc]  # mypy sees no types of transformers
            """Gets the prompt first, then each token."""

            def put(self, value: Any) -> None:
                times.append(time.perf_counter())

            def end(self) -> None:
                """Nothing is kept back."""

        start = time.perf_counter()
        (cost,) = self._generate([request], Clock())
        return cost._replace(first_seconds=times[1] - start, seconds=time.perf_counter() - start)

    def ask_all(self, requests: list[Request], num_at_once: int) -> list[Cost]:
        costs: list[Cost] = []
        for number in range(0, len(requests), num_at_once):
            costs += self._generate(requests[number : number + num_at_once], None)
        return costs

    def _generate(self, requests: list[Request], streamer: Any) -> list[Cost]:
        import torch

        prompts = [prompt_tokens(self.tokenizer, request.prompt) for request in requests]
        inputs = self.tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        with torch.inference_mode():
            output = self.model.generate(
                **inputs,
                max_new_tokens=self.max_new,
                do_sample=False,
                eos_token_id=list(self.end_tokens),
                pad_token_id=self.tokenizer.pad_token_id,
                streamer=streamer,
            )
        costs: list[Cost] = []
        width = inputs["input_ids"].shape[1]
        for prompt, tokens in zip(prompts, output[:, width:].tolist(), strict=True):
            costs.append(Cost(len(prompt), self._count(tokens), 0.0, 0.0))
        return costs

    def _count(self, tokens: list[int]) -> int:
        """Tokens before the end token."""
        for number, token in enumerate(tokens):
            if token in self.end_tokens:
                return number
        return len(tokens)


class BareLlama(Engine):
    """llama.cpp with the base model's own 4-bit file, one asker after the other.

    It has no adapter, so it would say something else: it writes as many tokens as it is told to.
    """

    name = "llama-cpp-python, 4 bits"

    def __init__(self, packages: Path, file: Path, tokenizer: Any, num_new: dict[str, int]):
        with _on_path(packages):
            from llama_cpp import Llama
        num_cores = os.cpu_count() or 1
        self.model = Llama(
            str(file),
            n_ctx=MAX_CONTEXT,
            n_threads=num_cores,
            n_threads_batch=num_cores,
            verbose=False,
        )
        self.tokenizer = tokenizer
        self.num_new = num_new  # tokens of the answer to each question

    def ask(self, request: Request) -> Cost:
        tokens = prompt_tokens(self.tokenizer, request.prompt)
        num_new = max(1, self.num_new[request.question])
        start = time.perf_counter()
        first_seconds = 0.0
        for number, _ in enumerate(self.model.generate(tokens, temp=0.0), start=1):
            first_seconds = first_seconds or time.perf_counter() - start
            if number == num_new:
                break
        return Cost(len(tokens), num_new, first_seconds, time.perf_counter() - start)

    def ask_all(self, requests: list[Request], num_at_once: int) -> list[Cost]:
        return [self.ask(request) for request in requests]


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
