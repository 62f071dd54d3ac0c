"""Callbacks of the Trainer's loop: shared memory, marks of whole checkpoints, and progress."""

import os
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback

from pipelines.training.job import FINISH_MARK

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (DeepSpeed's choice)
STEPS_TO_ESTIMATE = 8  # after which the speed is known
SLOW_SECONDS = 900.0  # of a training, above which the user is told
LOSSES = {"loss": "loss", "eval_loss": "validation"}  # key in the Trainer's log -> label


class Buffers(TrainerCallback):  # type: ignore[misc]  # mypy sees no types of transformers
    """Removes the names of the shared memory that DeepSpeed's ranks on the CPU use.

    DeepSpeed itself never removes them (67 MB a rank). Once all ranks have opened the memory it
    needs no name, and goes with the ranks, however they end.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called once every rank has DeepSpeed's engine."""
        torch.distributed.barrier()
        port = os.environ["MASTER_PORT"]
        rank = torch.distributed.get_rank()
        for path in SHARED_MEMORY.glob(f"deepspeed_allreduce_buffer_*_{port}_{rank}"):
            path.unlink()


class Marker(TrainerCallback):  # type: ignore[misc]  # mypy sees no types of transformers
    """Marks a checkpoint once all of it is on disk."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called after every file of the checkpoint was written."""
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (checkpoint / FINISH_MARK).write_text("")


class Progress(TrainerCallback):  # type: ignore[misc]  # mypy sees no types of transformers
    """One bar over all steps, with the newest losses beside it; rank 0 alone shows it."""

    def __init__(self) -> None:
        self._losses: dict[str, str] = {}
        self._num_steps = 0  # of this process
        self._start = 0.0  # monotonic

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A resumed training begins at its checkpoint."""
        self._start = time.monotonic()
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="fine-tuning",
            unit=" steps",
            mininterval=1,
            disable=not state.is_world_process_zero,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.update(state.global_step - self._bar.n)
        self._num_steps += 1
        if self._num_steps == STEPS_TO_ESTIMATE and state.is_world_process_zero:
            self._warn_of_slowness(state.max_steps - state.global_step)

    def _warn_of_slowness(self, num_steps: int) -> None:
        """Say how long it will take, if that is long, and what takes a minute."""
        seconds = num_steps * (time.monotonic() - self._start) / self._num_steps
        if seconds > SLOW_SECONDS:
            self._bar.write(
                f"this machine needs about {seconds / 60:.0f} more minutes for the training; a "
                "kill loses little, the same command goes on. For a first look in a few minutes: "
                "`python -m pipelines preset made`, then `make run`"
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        for key, label in LOSSES.items():
            if key in logs:
                self._losses[label] = f"{float(logs[key]):.3f}"
        self._bar.set_postfix(self._losses, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.close()
