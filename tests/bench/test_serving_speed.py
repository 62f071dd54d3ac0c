"""Requests a second of the served assistant against a loop of `transformers.generate`.

    python -m pytest tests/bench/test_serving_speed.py -s       (after `make run`; a few minutes)

Both answer the same golden questions with the same model, in one run; nothing else should run. The
loop is what a user would write without a server: one question after the other, greedy, no
retrieval, in the precision that is served (fp32, which is faster here than the weights' own bf16),
on one core or on all, whichever is faster. It runs right before and after each turn of the server,
and the mean counts. `generator` is the language model alone in Triton; `assistant` adds the guard,
the encoder, Weaviate, citations and the traffic log.

Seen on 2 slow cores without bf16, nothing beside it: the loop 13 to 17 requests/s; `generator` with
1, 4 and 16 clients 1.6, 3.4 and 5.9 times that (80.2 requests/s, 13.2 in a step), `assistant` 0.5,
1.0 and 1.3 times; all answers the loop's to the letter.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from pipelines import files
from pipelines.config import params
from pipelines.config.serve import ServeConfig
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.questions import golden, prompts
from pipelines.runtime import rendering, transformers_engine
from pipelines.serving import client, live_routes, live_server, locations
from pipelines.serving.triton_connection import Triton
from pipelines.vectorstore import open_index, point_alias, server_address

TRITON = Path("models/triton")
CHUNKS = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")
CLIENT_COUNTS = (1, 4, 16)
NUM_QUESTIONS = 300
NUM_TRIAL_QUESTIONS = 20  # by which the faster number of cores is found
MAX_NEW_TOKENS = 96
Ask = Callable[[str], str]


class Run(NamedTuple):
    """What a loop or a number of clients achieved."""

    rate: float  # requests a second
    answers: list[str]


class Steps(NamedTuple):
    """Steps of the language model, and the requests in them, summed."""

    num_steps: float
    num_requests: float


@pytest.fixture
def questions() -> list[str]:
    if not TRITON.exists():
        pytest.skip("needs the exported assistant: `make run` first")
    return [question.question for question in golden.load(Path("data/golden"))][:NUM_QUESTIONS]


@pytest.fixture
def release_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The exported release, installed for a server of this test alone."""
    release_id = files.read_json(TRITON / "release.json", ReleaseRecord).release_id
    monkeypatch.setattr(locations, "serving_folder", lambda: tmp_path / "serving")
    monkeypatch.setattr(locations, "traffic_folder", lambda: tmp_path / "traffic")
    live_server.install(TRITON, release_id)
    return release_id


@pytest.fixture
def triton(questions: list[str], release_id: str) -> Iterator[Triton]:
    """A live server that answers with this release alone."""
    receipt = files.read_json(Path("data/index.json"), Receipt)
    config = params.load().section(ServeConfig)
    with server_address() as environment, open_index(receipt, CHUNKS, VECTORS):
        point_alias(live_server.alias(release_id), receipt.collection)
        with live_server.hold(config, [release_id], environment) as server:
            live_routes.write([(release_id, 1.0)])
            yield server


def test_sixteen_clients_get_at_least_four_times_the_rate_of_a_sequential_loop(
    questions: list[str], triton: Triton, release_id: str
) -> None:
    prompt = prompts.load(TRITON / "generator/1/prompt.yaml")
    texts = [rendering.pack(prompt.render(question, [])) for question in questions]

    def ask_assistant(text: str) -> str:
        return client.ask(text, triton).text

    ratios: dict[int, float] = {}
    for num_clients in CLIENT_COUNTS:
        print(f"generator with {num_clients} clients")
        serve = partial(run_clients, num_clients, ask_generator(triton, release_id), texts)
        ratios[num_clients] = compare(triton, release_id, texts, serve)
    for num_clients in CLIENT_COUNTS:
        print(f"assistant with {num_clients} clients")
        serve = partial(run_clients, num_clients, ask_assistant, questions)
        compare(triton, release_id, texts, serve)
    assert ratios[16] >= 4


def compare(triton: Triton, release_id: str, texts: list[str], serve: Callable[[], Run]) -> float:
    """How many times the rate of the loop the served rate is."""
    before = run_loop(texts)
    steps_before = read_steps(triton)
    served_run = serve()
    steps = read_steps(triton)
    after = run_loop(texts)
    num_requests = steps.num_requests - steps_before.num_requests
    num_steps = max(1.0, steps.num_steps - steps_before.num_steps)
    ratio = 2 * served_run.rate / (before.rate + after.rate)
    pairs = zip(served_run.answers, before.answers, strict=True)
    num_same = sum(answer == loop_answer for answer, loop_answer in pairs)
    print(f"    {ratio:.1f} times the loop")
    print(f"    {num_same / len(texts):.1%} of the answers are the loop's to the letter")
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


def run_loop(texts: list[str]) -> Run:
    """The loop on one core or on all, by what is faster on a few texts.

    On a busy machine, threads that share so small a product wait for each other.
    """
    num_threads = torch.get_num_threads()
    rates = {}
    for number in (1, num_threads):
        torch.set_num_threads(number)
        rates[number] = generate_one_by_one(texts[:NUM_TRIAL_QUESTIONS]).rate
        print(f"    loop on {number} core(s): {rates[number]:.1f} requests/s on a few")
    torch.set_num_threads(max(rates, key=lambda number: rates[number]))
    run = generate_one_by_one(texts)
    torch.set_num_threads(num_threads)
    print(f"    loop: {run.rate:.1f} requests/s")
    return run


def generate_one_by_one(texts: list[str]) -> Run:
    """The loop; its first request, which warms it up, does not count."""
    merged = transformers_engine.load(Path("models/base"), Path("models/adapter"), "fp32")
    tokenizer = merged.tokenizer
    model = merged.model

    def answer(text: str) -> str:
        inputs = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            sequence = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )[0]
        tokens = sequence[inputs["input_ids"].shape[1] :]
        return str(tokenizer.decode(tokens, skip_special_tokens=True).strip())

    answer(texts[0])
    start = time.perf_counter()
    answers = [answer(text) for text in texts]
    return Run(len(texts) / (time.perf_counter() - start), answers)


def ask_generator(triton: Triton, release_id: str) -> Ask:
    """Asks the language model alone, with one connection per thread."""
    from pipelines.runtime import arrays, peer

    thread = threading.local()

    def ask(text: str) -> str:
        if not hasattr(thread, "server"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ASSISTANT_GRPC", f"127.0.0.1:{triton.grpc_port}")
                thread.server = peer.Server()
        inputs = {"prompt": arrays.text(text).reshape(1, 1)}
        (response,) = thread.server.stream(f"generator-{release_id}", "", inputs, 60.0)
        return str(arrays.value(response["answer"]))

    return ask


def run_clients(num_clients: int, ask: Ask, texts: list[str]) -> Run:
    """So many clients at once, after each has asked once to warm up."""
    seconds: list[float] = []

    def ask_and_time(text: str) -> str:
        start = time.perf_counter()
        answer = ask(text)
        seconds.append(time.perf_counter() - start)
        return answer

    with ThreadPoolExecutor(num_clients) as pool:
        list(pool.map(ask, texts[:num_clients]))
        start = time.perf_counter()
        answers = list(pool.map(ask_and_time, texts))
        rate = len(texts) / (time.perf_counter() - start)
    seconds.sort()
    p50 = 1000 * seconds[len(seconds) // 2]
    p95 = 1000 * seconds[int(0.95 * len(seconds))]
    print(f"    {rate:.1f} requests/s, p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    return Run(rate, answers)
