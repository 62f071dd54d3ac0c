"""Starts DeepSpeed's launcher on this machine or on the nodes of a hostfile, and waits for it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config.finetune import FinetuneConfig
from pipelines.errors import UserError
from pipelines.system import locks, paths, processes
from pipelines.system.hardware import has_gpu, num_devices
from pipelines.training import cpu_operator
from pipelines.training.job import HISTORY_FILE, Job

JOB_FILE = "job.json"  # in the folder of the checkpoints


def plan(config: FinetuneConfig, base: Path, examples: Path) -> Job:
    """The job, whose folder is named by the digest of everything that decides the result."""
    facts = config.model_dump_json() + files.digest(base) + files.digest(examples)
    identity = files.text_digest(facts)[:16]
    checkpoints = paths.state_folder() / "checkpoints" / identity
    return Job(
        config=config,
        base=base.absolute(),
        examples=examples.absolute(),
        checkpoints=checkpoints,
        # Beside the folder, which is removed while the lock is held.
        lock=checkpoints.with_suffix(".lock"),
    )


def claim(job: Job) -> AbstractContextManager[None]:
    """Hold a job, from its first step until it is forgotten; waits while another process holds it.

    Runs in other work trees of this clone may have the same job. The ranks end when the lock
    becomes free: a killed stage leaves none of them behind.
    """
    return locks.exclusive(job.lock)


def train(job: Job, result: Path) -> list[dict[str, Any]]:
    """Fine-tune a claimed job into `result`; returns the training history (losses by step).

    Continues from the last checkpoint of the same job. Raises UserError if this machine cannot do
    what the configuration asks for, or if a rank fails.
    """
    config = job.config
    _check_machine(config)
    job.checkpoints.mkdir(parents=True, exist_ok=True)
    files.write_text(job.checkpoints / JOB_FILE, job.model_dump_json())
    num_processes = config.num_processes or num_devices()
    nodes = f" on each node of {config.hostfile}" if config.hostfile else ""
    print(
        f"{config.method}, ZeRO stage {config.zero_stage}, {num_processes} process(es){nodes}",
        flush=True,
    )
    launcher = subprocess.Popen(
        _command(job, num_processes, result), env=_environment(num_processes)
    )
    code = _wait(launcher)
    if code:
        raise UserError(
            f"fine-tuning stopped (exit code {code}); the reason is in the lines above. "
            f"The same command continues from the last checkpoint in {job.checkpoints}"
        )
    history: list[dict[str, Any]] = json.loads((result / HISTORY_FILE).read_text())
    (result / HISTORY_FILE).unlink()
    return history


def _wait(launcher: "subprocess.Popen[bytes]") -> int:
    """Wait for the exit code; an interrupt ends the ranks first."""
    try:
        return launcher.wait()
    except KeyboardInterrupt:
        launcher.send_signal(signal.SIGTERM)
        launcher.wait()
        raise


def forget(job: Job) -> None:
    """Remove the checkpoints of this job; those of other jobs stay."""
    shutil.rmtree(job.checkpoints, ignore_errors=True)


def _check_machine(config: FinetuneConfig) -> None:
    if config.method == "qlora" and not has_gpu():
        raise UserError(
            "params.yaml: finetune.method: qlora needs an NVIDIA GPU (bitsandbytes), "
            "and none is visible here. Use lora"
        )
    if config.precision == "fp16" and not has_gpu():
        raise UserError(
            "params.yaml: finetune.precision: fp16 needs an NVIDIA GPU, "
            "and none is visible here. Use auto"
        )
    if config.hostfile and not Path(config.hostfile).exists():
        raise UserError(
            f"params.yaml: finetune.hostfile: {config.hostfile} does not exist: "
            "write one line per node, `host slots=8`, or use null"
        )


def _command(job: Job, num_processes: int, result: Path) -> list[str]:
    (port,) = processes.free_ports(1)
    launcher = [sys.executable, "-m", "deepspeed.launcher.runner"]
    hostfile = job.config.hostfile or os.devnull
    address = [] if job.config.hostfile else ["--master_addr", "127.0.0.1"]
    count = "--num_gpus" if has_gpu() else "--num_accelerators"
    options = ["--hostfile", hostfile, count, str(num_processes), *address]
    options += ["--master_port", str(port), "--log_level", "error"]
    files_of_job = [str(job.checkpoints / JOB_FILE), str(result.absolute())]
    return [*launcher, *options, "--module", "pipelines.training.worker", *files_of_job]


def _environment(num_processes: int) -> dict[str, str]:
    num_threads = max(1, (os.cpu_count() or 1) // num_processes)
    return {
        **cpu_operator.environment(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(num_threads)),
        "PYTHONPATH": str(Path.cwd()),
    }
