"""Real DeepSpeed on this machine: combinations of params.yaml without a GPU, on a tiny model."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.base import MadeModel
from pipelines.config.finetune import FinetuneConfig
from pipelines.errors import UserError
from pipelines.training import base_model, launch, weights
from pipelines.training.job import Job
from tests import made_model

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (DeepSpeed's choice)
TINY = MadeModel(
    vocabulary_size=400,
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    num_tokens=2000,
    sequence_length=16,
    batch_size=2,
    learning_rate=0.001,
)
ROWS = [
    {
        "topic": "t",
        "question": f"where is number {number}",
        "prompt": f"Question: where is number {number}\nAnswer:",
        "completion": f" in file {number}",
    }
    for number in range(24)
]
WAIT_FOR_JOB = """
import sys
from pathlib import Path
from pipelines.training import launch
from pipelines.training.job import Job

with launch.claim(Job.model_validate_json(sys.argv[1])):
    print("mine")
"""


def settings(**changes: object) -> FinetuneConfig:
    """The section of params.yaml with a few steps of training, and `changes`."""
    section = params.load().section(FinetuneConfig).model_dump() | made_model.section("finetune")
    short = {"num_epochs": 1.0, "batch_size": 4, "lora_rank": 4, "checkpoint_steps": 100}
    return FinetuneConfig.model_validate(section | short | changes)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base model and 24 examples."""
    from datasets import Dataset, DatasetDict

    folder = tmp_path_factory.mktemp("inputs")
    text = "where is the file with this number? in the folder of all numbers. " * 40
    base_model.make([text], TINY, 7, folder / "base")
    splits = DatasetDict(train=Dataset.from_list(ROWS), validation=Dataset.from_list(ROWS[:4]))
    splits.save_to_disk(str(folder / "examples"))
    return folder


def plan(inputs: Path, **changes: object) -> Job:
    return launch.plan(settings(**changes), inputs / "base", inputs / "examples")


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "lora", "zero_stage": 2, "num_processes": 2},
        {"method": "lora", "zero_stage": 3, "num_processes": 1},
        {
            "method": "full",
            "zero_stage": 1,
            "num_processes": 1,
            "packing": "joined",
            "gradient_checkpointing": True,
        },
        {"method": "full", "zero_stage": 3, "num_processes": 2, "precision": "fp32"},
    ],
    ids=["two ranks", "weights sharded", "packed", "all weights sharded over two ranks"],
)
def test_a_combination_trains_and_saves_whole_weights(
    changes: dict[str, object], inputs: Path, tmp_path: Path
) -> None:
    job = plan(inputs, **changes)
    buffers = set(SHARED_MEMORY.glob("deepspeed*"))

    with launch.claim(job):
        history = launch.train(job, tmp_path)
        launch.forget(job)

    assert [check.name for check in weights.checks(tmp_path) if not check.passed] == []
    train_losses = [row["train_loss"] for row in history if "train_loss" in row]
    eval_losses = [row["eval_loss"] for row in history if "eval_loss" in row]
    # After six small steps: each is a mean over tokens, however many processes share the batches.
    assert train_losses == pytest.approx(eval_losses, rel=0.3)
    assert set(SHARED_MEMORY.glob("deepspeed*")) <= buffers


def test_training_resumed_in_the_second_epoch_gives_the_same_weights_as_an_uninterrupted_one(
    inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = plan(inputs, method="full", num_processes=1, num_epochs=2.0, checkpoint_steps=4)
    whole = tmp_path / "whole"
    resumed = tmp_path / "resumed"
    whole.mkdir()
    resumed.mkdir()
    with launch.claim(job):
        launch.train(job, whole)
        # Of twelve steps; the rest is what a kill after the eighth leaves.
        shutil.rmtree(job.checkpoints / "checkpoint-12")
        launch.train(job, resumed)
        launch.forget(job)

    assert capfd.readouterr().out.count("continuing from checkpoint-8") == 1
    weights_file = "model.safetensors"
    assert files.digest(resumed / weights_file) == files.digest(whole / weights_file)


def test_a_second_process_with_the_same_job_waits_until_the_first_has_forgotten_it(
    inputs: Path,
) -> None:
    job = plan(inputs)
    with launch.claim(job):
        second = subprocess.Popen(
            [sys.executable, "-c", WAIT_FOR_JOB, job.model_dump_json()],
            stdout=subprocess.PIPE,
            text=True,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(5)
    assert second.communicate(timeout=30)[0] == "mine\n"


def test_the_job_of_other_settings_has_checkpoints_and_lock_of_its_own(inputs: Path) -> None:
    job = plan(inputs)
    other_job = plan(inputs, seed=8)
    assert job == plan(inputs)
    assert job.checkpoints != other_job.checkpoints
    assert job.lock != other_job.lock


def test_qlora_without_a_gpu_is_refused_with_the_remedy(inputs: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match=r"finetune\.method: qlora needs an NVIDIA GPU.*Use lora"):
        launch.train(plan(inputs, method="qlora"), tmp_path)


def test_a_missing_hostfile_is_reported_by_name(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"finetune\.hostfile: nowhere does not exist"):
        launch.train(plan(inputs, hostfile="nowhere"), tmp_path)
