"""What takes part in the Trainer's loop: the end of shared memory's name, the mark of a checkpoint written to its end, and the progress bar."""

import os
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback

from pipelines.finetuning.job import FINISHED


class Buffers(TrainerCallback):  # type: ignore[misc]
    """DeepSpeed's ranks on the CPU share memory under a name that nobody removes (67 MB a rank). Once all have opened it, it goes with them, however they end."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called once every rank has DeepSpeed's engine."""
        torch.distributed.barrier()
        for path in Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_*_{os.environ['MASTER_PORT']}_{torch.distributed.get_rank()}"):  # noqa: S108 (DeepSpeed's choice)
            path.unlink()


class Marker(TrainerCallback):  # type: ignore[misc]  # the one way in which the Trainer lets others take part
    """Marks a checkpoint once all of it is on disk."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called after every file of the checkpoint was written."""
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / FINISHED).write_text("")


class Progress(TrainerCallback):  # type: ignore[misc]
    """One bar over all steps, with the last losses beside it; rank 0 alone shows it."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A resumed training begins where its checkpoint was."""
        hidden = not state.is_world_process_zero
        self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc="fine-tuning", unit=" steps", mininterval=1, disable=hidden)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar to the step that was done."""
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Show the newest training and validation loss."""
        self._shown |= {name: f"{float(logs[key]):.3f}" for key, name in (("loss", "loss"), ("eval_loss", "validation")) if key in logs}
        self._bar.set_postfix(self._shown, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the full bar on the screen."""
        self._bar.close()
