"""Real DeepSpeed on this machine: the combinations of params.yaml that need no GPU, each on a tiny model."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import basemodel, files, place, weights
from pipelines.config import params
from pipelines.config.base import MadeModel
from pipelines.config.finetune import FinetuneConfig
from pipelines.errors import UserError
from pipelines.finetuning import job, launch, worker

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (DeepSpeed's choice)
TINY = MadeModel(vocabulary_size=400, hidden_size=16, num_layers=1, num_heads=2, num_tokens=2000, sequence_length=16, batch_size=2, learning_rate=0.001)
ROWS = [{"topic": "t", "question": f"where is number {number}", "prompt": f"Question: where is number {number}\nAnswer:", "completion": f" in file {number}"} for number in range(24)]


def settings(**changes: object) -> FinetuneConfig:
    """The default section with a few steps of training, and `changes`."""
    return FinetuneConfig.model_validate(params.load().finetune.model_dump() | {"num_epochs": 1.0, "batch_size": 4, "lora_rank": 4, "checkpoint_steps": 100} | changes)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny base model and 24 examples."""
    from datasets import Dataset, DatasetDict

    folder = tmp_path_factory.mktemp("inputs")
    basemodel.make(["where is the file with this number? in the folder of all numbers. " * 40], TINY, 7, folder / "base")
    DatasetDict(train=Dataset.from_list(ROWS), validation=Dataset.from_list(ROWS[:4])).save_to_disk(str(folder / "examples"))
    return folder / "base", folder / "examples"


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "lora", "zero_stage": 2, "num_processes": 2},
        {"method": "lora", "zero_stage": 3, "num_processes": 1},
        {"method": "full", "zero_stage": 1, "num_processes": 1, "packing": True, "gradient_checkpointing": True},
        {"method": "full", "zero_stage": 3, "num_processes": 2, "precision": "fp32"},
    ],
    ids=["two ranks", "weights sharded", "packed", "all weights sharded over two ranks"],
)
def test_a_combination_trains_and_saves_whole_weights(changes: dict[str, object], inputs: tuple[Path, Path], tmp_path: Path) -> None:
    base, examples = inputs
    (tmp_path / "result").mkdir()
    buffers = set(SHARED_MEMORY.glob("deepspeed*"))

    with launch.alone(settings(**changes), base, examples):
        history = launch.train(settings(**changes), base, examples, tmp_path / "result")
        launch.forget(base, examples, settings(**changes))

    assert [check.name for check in weights.checks(tmp_path / "result") if not check.passed] == []
    assert any("train_loss" in row for row in history)
    assert set(SHARED_MEMORY.glob("deepspeed*")) <= buffers


def test_what_continues_from_a_checkpoint_of_the_second_epoch_is_what_was_never_stopped(inputs: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config, (base, examples) = settings(method="full", num_processes=1, num_epochs=2.0, checkpoint_steps=4), inputs
    whole, continued = tmp_path / "whole", tmp_path / "continued"
    whole.mkdir()
    continued.mkdir()
    others = checkpoints(12)
    with launch.alone(config, base, examples):
        launch.train(config, base, examples, whole)
        (last,) = checkpoints(12) - others
        shutil.rmtree(last)  # of twelve steps; what stays is what a kill after the eighth leaves
        launch.train(config, base, examples, continued)
        launch.forget(base, examples, config)

    assert capfd.readouterr().out.count("continuing from checkpoint-8") == 1
    assert files.digest(continued / "model.safetensors") == files.digest(whole / "model.safetensors")


def checkpoints(step: int) -> set[Path]:
    return set((place.shared_state() / "checkpoints").glob(f"*/checkpoint-{step}"))


def test_a_second_process_with_the_same_job_waits_until_the_first_has_forgotten_it(inputs: tuple[Path, Path]) -> None:
    base, examples = inputs
    waiting = "import sys; from pathlib import Path; from pipelines.config.finetune import FinetuneConfig; from pipelines.finetuning import launch\n"
    waiting += "config = FinetuneConfig.model_validate_json(sys.argv[1])\nwith launch.alone(config, Path(sys.argv[2]), Path(sys.argv[3])): print('mine')"
    with launch.alone(settings(), base, examples):
        second = subprocess.Popen([sys.executable, "-c", waiting, settings().model_dump_json(), str(base), str(examples)], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(5)
    assert second.communicate(timeout=30)[0] == "mine\n"


def test_qlora_without_a_gpu_is_refused_with_the_remedy(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match=r"finetune\.method: qlora needs an NVIDIA GPU.*Use lora"):
        launch.train(settings(method="qlora"), *inputs, tmp_path)


def test_a_missing_hostfile_is_named(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"finetune\.hostfile: nowhere is not there"):
        launch.train(settings(hostfile="nowhere"), *inputs, tmp_path)


def test_an_example_that_is_too_long_is_an_error_that_names_it(inputs: tuple[Path, Path]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(inputs[0]))

    with pytest.raises(UserError, match=r"topic t has \d+ tokens, more than params\.yaml: finetune\.max_tokens \(16\): 'where is number 0'"):
        worker.encode(tokenizer, ROWS[0], 16)


def test_only_the_completion_counts_in_the_loss(inputs: tuple[Path, Path]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(inputs[0]))

    encoded = worker.encode(tokenizer, ROWS[3], 192)

    counted = [token for token, label in zip(encoded["input_ids"], encoded["labels"], strict=True) if label != -100]
    assert tokenizer.decode(counted) == " in file 3</s>"


def test_an_unfinished_checkpoint_is_not_continued_from(tmp_path: Path) -> None:
    for step in (10, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
    files.write_text(tmp_path / "checkpoint-10" / job.FINISHED, "")

    assert worker.last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert not (tmp_path / "checkpoint-20").exists()
