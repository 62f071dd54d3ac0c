"""LoRA tokens a second of the product's worker against TRL's SFTTrainer, on a real model.

    python -m pytest tests/bench/test_training_speed.py -s -o norecursedirs=   (after `make run`)

The worker runs under DeepSpeed's launcher, as in the stage `finetune`. Both train the base model of
this checkout on the same few of its examples (TRAINING_EXAMPLES, 24) with the same batch size,
precision and LoRA settings, in processes of their own, by turns (TRAINING_ROUNDS, 2); the faster
turn of each counts. Loading and evaluation do not count, and neither does padding: batches of
similar length are the product's own. TRL is not among the dependencies: it is installed below
`.state`, without what it requires. Nothing else should run.

Not yet measured.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines.config import params
from pipelines.config.base import BaseConfig
from pipelines.config.finetune import FinetuneConfig
from pipelines.runtime import generation
from pipelines.system.hardware import computes_in_bf16
from pipelines.training import cpu_operator, launch, worker
from tests.bench import extra_packages
from tests.bench.extra_packages import Unavailable
from tests.bench.trl_training import Job

BASE = Path("models/base")
EXAMPLES = Path("data/examples")
PROGRAM = Path(__file__).with_name("trl_training.py")
TRL = "trl==1.16.0"
NUM_EXAMPLES = int(os.environ.get("TRAINING_EXAMPLES", "24"))
NUM_ROUNDS = int(os.environ.get("TRAINING_ROUNDS", "2"))
FIRST_LAYERS = (0, 10, 15)  # of those that are trained; SmolLM2-135M has 30
MIN_RATIO_TO_TRL = 1.5
MIN_RATIO_TO_ALL_LAYERS = 1.3


class Bench(NamedTuple):
    """The examples, cut, and a folder for what is made."""

    rows: list[dict[str, Any]]
    folder: Path

    @property
    def examples(self) -> Path:
        return self.folder / "examples"

    def encode(self, config: FinetuneConfig) -> list[dict[str, Any]]:
        """Token ids and labels, as the worker makes them."""
        tokenizer = generation.tokenizer_of(BASE)
        return [worker.encode(tokenizer, row, config.max_tokens) for row in self.rows]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The first examples of this checkout, and one validation example, which the worker needs."""
    from datasets import DatasetDict, load_from_disk

    for path in (BASE, EXAMPLES):
        if not path.exists():
            pytest.skip(f"{path} is absent: run `dvc repro examples` first")
    if params.load().section(BaseConfig).source == "made":
        pytest.skip("the made model is too small: `python -m pipelines preset reading` and a run")
    splits = load_from_disk(str(EXAMPLES))
    train = splits["train"].select(range(NUM_EXAMPLES))
    folder = tmp_path_factory.mktemp("training")
    few = DatasetDict({"train": train, "validation": splits["validation"].select([0])})
    few.save_to_disk(str(folder / "examples"))
    return Bench(train.to_list(), folder)


def test_the_worker_trains_faster_than_the_trainer_of_trl(bench: Bench) -> None:
    try:
        packages = extra_packages.install(TRL)
    except Unavailable as error:
        pytest.skip(str(error))
    config = configure(params.load().section(FinetuneConfig).first_layer)
    num_tokens = sum(len(row["input_ids"]) for row in bench.encode(config))
    product_rates: list[float] = []
    trl_rates: list[float] = []
    for _ in range(NUM_ROUNDS):
        product_rates.append(num_tokens / train_by_product(bench, config))
        trl_rates.append(num_tokens / train_by_trl(bench, config, packages))
    ratio = max(product_rates) / max(trl_rates)
    print(
        f"\n{num_tokens} tokens, LoRA from layer {config.first_layer} on: product "
        f"{show(product_rates)}, {TRL} {show(trl_rates)} tokens/s: {ratio:.2f} times"
    )
    assert ratio >= MIN_RATIO_TO_TRL


def test_the_upper_half_of_the_layers_trains_faster_than_all(bench: Bench) -> None:
    rates: dict[int, list[float]] = {first_layer: [] for first_layer in FIRST_LAYERS}
    for _ in range(NUM_ROUNDS):
        for first_layer, layer_rates in rates.items():
            config = configure(first_layer)
            num_tokens = sum(len(row["input_ids"]) for row in bench.encode(config))
            layer_rates.append(num_tokens / train_by_product(bench, config))
    print()
    for first_layer, layer_rates in rates.items():
        ratio = max(layer_rates) / max(rates[0])
        print(f"from layer {first_layer} on: {show(layer_rates)} tokens/s, {ratio:.2f} times")
    assert max(rates[15]) / max(rates[0]) >= MIN_RATIO_TO_ALL_LAYERS


def configure(first_layer: int) -> FinetuneConfig:
    """The checkout's settings, for one pass of LoRA in the layers from this one on."""
    changes = {"method": "lora", "first_layer": first_layer, "num_epochs": 1.0}
    return params.load().section(FinetuneConfig).model_copy(update=changes)


def adapter_folder(bench: Bench, config: FinetuneConfig) -> Path:
    return bench.folder / f"adapter-{config.first_layer}"


def train_by_product(bench: Bench, config: FinetuneConfig) -> float:
    """Seconds of a training from its beginning; what an interrupted one left is forgotten."""
    job = launch.plan(config, BASE, bench.examples)
    result = adapter_folder(bench, config)
    result.mkdir(exist_ok=True)
    with launch.claim(job):
        launch.forget(job)
        history = launch.train(job, result)
        launch.forget(job)
    seconds = [row["train_runtime"] for row in history if "train_runtime" in row]
    evaluations = [row["eval_runtime"] for row in history if "eval_runtime" in row]
    return float(seconds[-1] - sum(evaluations))


def train_by_trl(bench: Bench, config: FinetuneConfig, packages: Path) -> float:
    """The same by TRL, with the LoRA settings of the adapter that the product has trained."""
    job = Job(
        config=config,
        base=BASE.absolute(),
        examples=bench.encode(config),
        is_bf16=config.precision == "bf16" or (config.precision == "auto" and computes_in_bf16()),
        lora=adapter_folder(bench, config),
        output=bench.folder / "trl",
        seconds_file=bench.folder / "trl_seconds",
    )
    job_file = bench.folder / "trl_job.json"
    job_file.write_text(job.model_dump_json())
    environment = {
        **cpu_operator.environment(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1)),
        "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{packages}",
    }
    subprocess.run([sys.executable, str(PROGRAM), str(job_file)], env=environment, check=True)
    return float(job.seconds_file.read_text())


def show(rates: list[float]) -> str:
    return " and ".join(f"{rate:.0f}" for rate in rates)
