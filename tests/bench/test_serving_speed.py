"""Requests a second of the served assistant against a loop of `transformers.generate`.

    python -m pytest tests/bench/test_serving_speed.py -s -o norecursedirs=      (after `make run`)

Both answer the same golden questions with the same model and passages, in one run; nothing else
should run. The loop is what a user would write without a server: one question after the other,
greedy, its passages at hand, in the precision that is served (fp32), on one core or on all,
whichever is faster. It runs right before and after each turn of the server, and the mean counts.
`generator` is the language model alone in Triton; `assistant` adds the guard, the encoder,
Weaviate, citations and the traffic log. Each turn has SERVED_QUESTIONS (24) of its own, since the
engine keeps what it has read of a prompt; test_served_tokens.py compares tokens with bare engines.

Seen with the made model and its prompts without passages on 2 slow cores without bf16, nothing
beside it: the loop 13 to 17 requests/s; `generator` with 1, 4 and 16 clients 1.6, 3.4 and 5.9 times
that (80.2 requests/s, 13.2 in a step), `assistant` 0.5, 1.0 and 1.3 times; all answers the loop's
to the letter. Not yet measured with a real model.
"""

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from pipelines.runtime import arrays, transformers_engine
from pipelines.runtime.prompt_tokens import prompt_tokens
from pipelines.serving import client
from pipelines.serving.triton_connection import Triton
from tests.bench import served_questions
from tests.bench.rivals import ServedGenerator
from tests.bench.served_questions import Request

CLIENT_COUNTS = (1, 4, 16)
NUM_QUESTIONS = int(os.environ.get("SERVED_QUESTIONS", "24"))  # of each turn of the server
NUM_TRIAL_QUESTIONS = 4  # by which the faster number of cores is found
MAX_NEW_TOKENS = 96
Ask = Callable[[Request], str]


class Run(NamedTuple):
    """What a loop or a number of clients achieved."""

    rate: float  # requests a second
    answers: list[str]


class Steps(NamedTuple):
    """Steps of the language model, and the requests in them, summed."""

    num_steps: float
    num_requests: float


class Turn(NamedTuple):
    """What a number of clients ask; each warms up with a question of its own."""

    warm_up: list[Request]
    requests: list[Request]


@pytest.fixture
def turns(triton: Triton) -> list[Turn]:
    """For the generator and for the assistant one turn each with every number of clients."""
    counts = [*CLIENT_COUNTS, *CLIENT_COUNTS]
    requests = served_questions.sample(sum(counts) + len(counts) * NUM_QUESTIONS)
    turns: list[Turn] = []
    for count in counts:
        size = count + NUM_QUESTIONS
        turns.append(Turn(requests[:count], requests[count:size]))
        requests = requests[size:]
    return turns


def test_sixteen_clients_get_at_least_four_times_the_rate_of_a_sequential_loop(
    turns: list[Turn], triton: Triton, release_id: str
) -> None:
    generator = ServedGenerator(triton, release_id)

    def ask_generator(request: Request) -> str:
        (response,) = generator.responses(request, is_streamed=False)
        return str(arrays.value(response["answer"]))

    def ask_assistant(request: Request) -> str:
        return client.ask(request.question, triton).text

    ratios: dict[str, float] = {}
    asks = {"generator": ask_generator, "assistant": ask_assistant}
    for model, ask in asks.items():
        for num_clients in CLIENT_COUNTS:
            turn = turns.pop(0)
            name = f"{model} with {num_clients} clients"
            print(name)
            serve = partial(run_clients, num_clients, ask, turn)
            ratios[name] = compare(triton, release_id, turn.requests, serve)
    assert ratios["generator with 16 clients"] >= 4
    assert ratios["assistant with 16 clients"] >= 3


def compare(
    triton: Triton, release_id: str, requests: list[Request], serve: Callable[[], Run]
) -> float:
    """How many times the rate of the loop the served rate is."""
    before = run_loop(requests)
    steps_before = read_steps(triton)
    served_run = serve()
    steps = read_steps(triton)
    after = run_loop(requests)
    num_requests = steps.num_requests - steps_before.num_requests
    num_steps = max(1.0, steps.num_steps - steps_before.num_steps)
    ratio = 2 * served_run.rate / (before.rate + after.rate)
    pairs = zip(served_run.answers, before.answers, strict=True)
    num_same = sum(answer == loop_answer for answer, loop_answer in pairs)
    print(f"    {ratio:.1f} times the loop")
    print(f"    {num_same / len(requests):.1%} of the answers are the loop's to the letter")
    print(f"    {num_requests / num_steps:.1f} requests in a step on average")
    print(f"    so far Triton handed over batches of {batch_sizes(triton, release_id)}")
    return ratio


def read_steps(triton: Triton) -> Steps:
    """The language model's steps so far, by the counter among the server's metrics."""
    time.sleep(1)  # it is reported twice a second
    num_steps = num_requests = 0.0
    pattern = r'^generator_steps_total\{.*rows="(\d+)"\} (\S+)$'
    for rows, count in re.findall(pattern, triton.metrics(), re.MULTILINE):
        num_steps += float(count)
        num_requests += int(rows) * float(count)
    return Steps(num_steps, num_requests)


def batch_sizes(triton: Triton, release_id: str) -> str:
    """Sizes of the batches that Triton made, with their counts."""
    (counts,) = triton.statistics(f"generator-{release_id}")
    return ", ".join(
        f"{batch['batch_size']} ({batch['compute_infer']['count']})"
        for batch in counts["batch_stats"]
    )


def run_loop(requests: list[Request]) -> Run:
    """The loop on one core or on all, by what is faster on a few requests.

    On a busy machine, threads that share so small a product wait for each other.
    """
    num_threads = torch.get_num_threads()
    rates = {}
    for number in (1, num_threads):
        torch.set_num_threads(number)
        rates[number] = generate_one_by_one(requests[:NUM_TRIAL_QUESTIONS]).rate
        print(f"    loop on {number} core(s): {rates[number]:.2f} requests/s on a few")
    torch.set_num_threads(max(rates, key=lambda number: rates[number]))
    run = generate_one_by_one(requests)
    torch.set_num_threads(num_threads)
    print(f"    loop: {run.rate:.2f} requests/s")
    return run


@cache
def load_candidate() -> Any:
    return transformers_engine.load(Path("models/base"), Path("models/adapter"), "fp32")


def generate_one_by_one(requests: list[Request]) -> Run:
    """The loop; its first request, which warms it up, does not count."""
    candidate = load_candidate()
    tokenizer = candidate.tokenizer

    def answer(request: Request) -> str:
        inputs = torch.tensor([prompt_tokens(tokenizer, request.prompt)])
        with torch.inference_mode():
            sequence = candidate.model.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=list(candidate.end_tokens),
            )[0]
        tokens = sequence[inputs.shape[1] :]
        return str(tokenizer.decode(tokens, skip_special_tokens=True).strip())

    answer(requests[0])
    start = time.perf_counter()
    answers = [answer(request) for request in requests]
    return Run(len(requests) / (time.perf_counter() - start), answers)


def run_clients(num_clients: int, ask: Ask, turn: Turn) -> Run:
    """So many clients at once, after each has asked once to warm up."""
    seconds: list[float] = []

    def ask_and_time(request: Request) -> str:
        start = time.perf_counter()
        answer = ask(request)
        seconds.append(time.perf_counter() - start)
        return answer

    with ThreadPoolExecutor(num_clients) as pool:
        list(pool.map(ask, turn.warm_up))
        start = time.perf_counter()
        answers = list(pool.map(ask_and_time, turn.requests))
        rate = len(turn.requests) / (time.perf_counter() - start)
    seconds.sort()
    p50 = 1000 * seconds[len(seconds) // 2]
    p95 = 1000 * seconds[int(0.95 * len(seconds))]
    print(f"    {rate:.2f} requests/s, p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    return Run(rate, answers)
