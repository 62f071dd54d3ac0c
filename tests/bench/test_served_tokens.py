"""Prompt and answer tokens a second through Triton against bare engines, in one run.

    python -m pytest tests/bench/test_served_tokens.py -s -o norecursedirs=     (after `make run`)

SERVED_QUESTIONS (32) golden questions with their passages are asked by sixteen askers at once, and
SERVED_ALONE (8) more by a single one: of the language model in Triton, of the whole assistant,
and of OpenVINO GenAI, `transformers.generate` and llama.cpp without any server. All have the
weights of this checkout's candidate in fp32, but llama.cpp, which has the base model's own 4 bits
and is told how many tokens to write. The assistant gets questions of its own: the model in Triton
keeps what it has read of a prompt. llama-cpp-python is compiled once into `.state` (minutes) and
left out, with its reason, if that fails. Nothing else should run.

Not yet measured.
"""

import json
import os
import statistics
import time
from pathlib import Path
from typing import NamedTuple

from pipelines.config import params
from pipelines.config.base import BaseConfig
from pipelines.runtime import transformers_engine
from pipelines.serving.triton_connection import Triton
from pipelines.training import openvino_graph, packaged_model
from tests.bench import extra_packages, rivals, served_questions
from tests.bench.extra_packages import Unavailable
from tests.bench.rivals import BareLlama, BareOpenVino, BareTransformers, Cost, Engine
from tests.bench.served_questions import Request

BASE = Path("models/base")
ADAPTER = Path("models/adapter")
SETTINGS = Path("models/triton/generator/1/settings.json")
LLAMA = ("llama-cpp-python==0.3.36", "diskcache==5.6.3")
NUM_AT_ONCE = 16
NUM_QUESTIONS = int(os.environ.get("SERVED_QUESTIONS", "32"))
NUM_ALONE = int(os.environ.get("SERVED_ALONE", "8"))
MIN_SHARE = 0.9  # of the fastest bare engine's rate, at sixteen askers


class Questions(NamedTuple):
    """Different ones for each purpose, so that no prompt is read twice."""

    warm_up: list[Request]
    together: list[Request]  # for sixteen askers
    alone: list[Request]


class Speed(NamedTuple):
    """What an engine achieved."""

    together_seconds: float  # for all questions, by sixteen askers
    together_costs: list[Cost]
    alone_costs: list[Cost]

    @property
    def answer_rate(self) -> float:
        """New tokens a second, at sixteen askers."""
        return sum(cost.num_new_tokens for cost in self.together_costs) / self.together_seconds


def test_triton_keeps_up_with_the_fastest_bare_engine(
    triton: Triton, release_id: str, tmp_path: Path
) -> None:
    group_size = 1 + NUM_QUESTIONS + NUM_ALONE
    requests = served_questions.sample(2 * group_size)
    assert len(requests) == 2 * group_size, "there are too few golden questions"
    questions = divide(requests[:group_size])
    generator = rivals.ServedGenerator(triton, release_id)
    served_speed = measure(generator, questions)
    measure(rivals.Assistant(triton), divide(requests[group_size:]))
    bare_seconds: dict[str, float] = {}
    for engine in bare_engines(tmp_path, answer_lengths(questions, served_speed)):
        bare_seconds[engine.name] = measure(engine, questions).together_seconds
    fastest = min(bare_seconds, key=lambda name: bare_seconds[name])
    share = bare_seconds[fastest] / served_speed.together_seconds
    print(f"the generator in Triton has {share:.2f} of the rate of {fastest}")
    assert share >= MIN_SHARE


def divide(requests: list[Request]) -> Questions:
    end = 1 + NUM_QUESTIONS
    return Questions(requests[:1], requests[1:end], requests[end:])


def answer_lengths(questions: Questions, speed: Speed) -> dict[str, int]:
    """New tokens of the answer to each question."""
    lengths = {request.question: 1 for request in questions.warm_up}
    pairs = zip(
        (*questions.together, *questions.alone),
        (*speed.together_costs, *speed.alone_costs),
        strict=True,
    )
    for request, cost in pairs:
        lengths[request.question] = cost.num_new_tokens
    return lengths


def bare_engines(folder: Path, lengths: dict[str, int]) -> list[Engine]:
    """The engines that can be had here, with the candidate's weights."""
    max_new_tokens = int(json.loads(SETTINGS.read_text())["max_new_tokens"])
    candidate = transformers_engine.load(BASE, ADAPTER)
    openvino_graph.write(candidate.model, candidate.tokenizer, folder / "openvino")
    tail = (candidate.tokenizer, candidate.end_tokens, max_new_tokens)
    engines: list[Engine] = [
        BareOpenVino(folder / "openvino", *tail),
        BareTransformers(candidate.model.float(), *tail),
    ]
    source = params.load().section(BaseConfig).source
    if not source.startswith(packaged_model.PREFIX):
        print(f"llama.cpp is left out: base.source {source} carries no GGUF file")
        return engines
    package = source.removeprefix(packaged_model.PREFIX)
    try:
        packages = extra_packages.install(*LLAMA)
    except Unavailable as error:
        print(f"llama.cpp is left out: {error}")
        return engines
    file = packaged_model.find(package).file
    return [*engines, BareLlama(packages, file, candidate.tokenizer, lengths)]


def measure(engine: Engine, questions: Questions) -> Speed:
    """Warm up, then ask by sixteen askers, then by one; print what came of it."""
    engine.ask(questions.warm_up[0])
    start = time.perf_counter()
    together = engine.ask_all(questions.together, NUM_AT_ONCE)
    speed = Speed(
        together_seconds=time.perf_counter() - start,
        together_costs=together,
        alone_costs=[engine.ask(request) for request in questions.alone],
    )
    show(engine.name, speed)
    return speed


def show(name: str, speed: Speed) -> None:
    num_prompt_tokens = sum(cost.num_prompt_tokens for cost in speed.together_costs)
    alone = speed.alone_costs
    first = statistics.median(cost.first_seconds for cost in alone)
    num_new_tokens = sum(cost.num_new_tokens for cost in alone)
    writing_seconds = sum(cost.seconds - cost.first_seconds for cost in alone)
    later_rate = (num_new_tokens - len(alone)) / max(writing_seconds, 1e-9)
    alone_rate = num_new_tokens / sum(cost.seconds for cost in alone)
    print(
        f"{name:25} {NUM_AT_ONCE} askers: {speed.together_seconds:.1f} s, "
        f"{num_prompt_tokens / speed.together_seconds:.0f} prompt and {speed.answer_rate:.0f} "
        f"answer tokens/s, {speed.answer_rate / alone_rate:.1f} times one asker's; one asker: "
        f"first token {first:.2f} s, then {later_rate:.0f} tokens/s"
    )
