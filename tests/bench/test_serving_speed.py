"""Requests a second of the served assistant against a loop of `transformers.generate`, over the same model and golden questions, in one run.

    python -m pytest tests/bench/test_serving_speed.py -s       (after `make run`; a few minutes; nothing else should run)

The loop is what a user would write without a server: one question after the other, greedy, no retrieval, in the precision that is served
(fp32, which is faster here than the weights' own bf16), on one core or on all, whichever is faster. It runs right before and after each turn of the server, and the mean counts. `generator`
is the language model alone in Triton; `assistant` adds the guard, the encoder, Weaviate, citations and the traffic log.

Seen on 2 slow cores without bf16, nothing beside it: the loop 13 to 17 requests/s; `generator` with 1, 4 and 16 clients 1.6, 3.4 and 5.9 times that
(80.2 requests/s, 13.2 in a step), `assistant` 0.5, 1.0 and 1.3 times; all answers the loop's to the letter.
"""

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines import files, golden, prompts
from pipelines.config import params
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.serving import client, live
from pipelines.serving.server import Triton
from pipelines.vectorstore import aliases, collections
from pipelines.vectorstore import server as weaviate

TRITON, WEIGHTS = Path("models/triton"), Path("models/triton/generator/1/weights")
CLIENTS, NUM_QUESTIONS, FEW = (1, 4, 16), 300, 20
Asking = Callable[[str], str]


@pytest.fixture
def questions() -> list[str]:
    if not TRITON.exists():
        pytest.skip("needs the exported assistant: `make run` first")
    return [question.question for question in golden.load(Path("data/golden"))][:NUM_QUESTIONS]


def test_sixteen_clients_get_at_least_four_times_the_rate_of_a_sequential_loop(questions: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = prompts.load(TRITON / "generator/1/prompt.yaml")
    texts = [prompt.render(question, []) for question in questions]
    record, receipt = files.read_json(TRITON / "release.json", ReleaseRecord), files.read_json(Path("data/index.json"), Receipt)
    monkeypatch.setattr(live, "folder", lambda: tmp_path / "serving")
    monkeypatch.setattr(live, "traffic_folder", lambda: tmp_path / "traffic")
    live.install(TRITON, record.release_id)
    with weaviate.addressed() as environment, collections.opened(receipt, Path("data/chunks.parquet"), Path("data/vectors.parquet")):
        aliases.point(live.alias(record.release_id), receipt.collection)
        with live.held(params.load().serve, [record.release_id], environment) as triton:
            live.set_routes([(record.release_id, 1.0)])
            rates, ratios = dict[tuple[str, int], float](), dict[tuple[str, int], float]()
            for name, asking, asked in (("generator", generator(triton, record.release_id), texts), ("assistant", lambda text: client.ask(text, triton=triton).text, questions)):
                for clients in CLIENTS:
                    before, answers = fastest(texts)
                    began = rows_in_steps(triton)
                    rates[name, clients], same = measured(name, clients, asking, asked, answers)
                    rows, steps = (now - then for now, then in zip(rows_in_steps(triton), began, strict=True))
                    ratios[name, clients] = 2 * rates[name, clients] / (before + fastest(texts)[0])
                    print(f"    {ratios[name, clients]:.1f} times the loop; {same:.1%} of the answers are the loop's to the letter")
                    print(f"    {rows / max(1.0, steps):.1f} requests in a step on average; so far Triton handed over batches of {handed_over(triton, record.release_id)}")
    assert ratios["generator", 16] >= 4


def rows_in_steps(triton: Triton) -> tuple[float, float]:
    """Requests in the steps of the language model, summed over steps, and the number of steps: by the counter that the server's metrics give."""
    time.sleep(1)  # it is reported twice a second
    counted = [(int(rows), float(number)) for rows, number in re.findall(r'^generator_steps_total\{.*rows="(\d+)"\} (\S+)$', triton.metrics(), re.MULTILINE)]
    return sum(rows * number for rows, number in counted), sum(number for _, number in counted)


def handed_over(triton: Triton, release_id: str) -> str:
    (counted,) = triton.statistics(f"generator-{release_id}")
    return ", ".join(f"{batch['batch_size']} ({batch['compute_infer']['count']})" for batch in counted["batch_stats"])


def fastest(texts: list[str]) -> tuple[float, list[str]]:
    """The loop on one core or on all, by what is faster on a few texts: threads that share so small a product wait for one another on a busy machine."""
    threads = torch.get_num_threads()
    rates = {}
    for number in (1, threads):
        torch.set_num_threads(number)
        rates[number] = sequential(texts[:FEW])[0]
    torch.set_num_threads(max(rates, key=lambda number: rates[number]))
    found = sequential(texts)
    torch.set_num_threads(threads)
    print("loop: " + ", ".join(f"{rate:.1f} requests/s on {number} core(s)" for number, rate in rates.items()) + f"; then {found[0]:.1f} requests/s")
    return found


def sequential(texts: list[str]) -> tuple[float, list[str]]:
    """Requests a second of the loop, and its answers."""
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32, local_files_only=True).eval()
    answers, began = [], 0.0
    for number, text in enumerate([texts[0], *texts]):
        if number == 1:
            began = time.perf_counter()  # the first one warms up
        inputs = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            written = model.generate(
                **{name: inputs[name] for name in ("input_ids", "attention_mask")}, max_new_tokens=96, do_sample=False, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
            )
        answers.append(tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return len(texts) / (time.perf_counter() - began), answers[1:]


def generator(triton: Triton, release_id: str) -> Asking:
    """Asks the language model alone, by one connection a thread."""
    from pipelines.serving.inside import peer

    held = threading.local()

    def ask(text: str) -> str:
        if not hasattr(held, "server"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ASSISTANT_GRPC", f"127.0.0.1:{triton.grpc_port}")
                held.server = peer.Server()
        (arrays,) = held.server.stream(f"generator-{release_id}", "", {"prompt": peer.text(text).reshape(1, 1)}, 60.0)
        return str(np.asarray(arrays["answer"]).reshape(-1)[0].decode())

    return ask


def measured(name: str, clients: int, ask: Asking, texts: list[str], expected: list[str]) -> tuple[float, float]:
    """Requests a second of so many clients, and the share of answers that are the loop's."""
    seconds = [0.0] * len(texts)

    def timed(place: int) -> str:
        began = time.perf_counter()
        answer = ask(texts[place])
        seconds[place] = time.perf_counter() - began
        return answer

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(timed, range(min(clients, len(texts)))))
        began = time.perf_counter()
        answers = list(pool.map(timed, range(len(texts))))
        rate = len(texts) / (time.perf_counter() - began)
    ordered = sorted(seconds)
    print(f"{name} with {clients:2} clients: {rate:.1f} requests/s, p50 {1000 * ordered[len(ordered) // 2]:.0f} ms, p95 {1000 * ordered[int(0.95 * len(ordered))]:.0f} ms")
    return rate, sum(one == other for one, other in zip(answers, expected, strict=True)) / len(texts)
