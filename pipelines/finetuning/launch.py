"""Starts DeepSpeed's launcher on this machine's devices, or on the nodes of a hostfile, and waits for the result."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines import files, place
from pipelines.config.finetune import FinetuneConfig
from pipelines.errors import UserError
from pipelines.finetuning import operator
from pipelines.finetuning.job import Job
from pipelines.hardware import has_gpu, num_devices


@contextmanager
def alone(config: FinetuneConfig, base: Path, examples: Path) -> Iterator[None]:
    """One process of this clone at a time does a job, from its first step to its forgetting: runs in other work trees may have the same one."""
    lock = _lock(config, base, examples)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # the ranks end when this lock is free: a killed stage leaves none of them behind
        yield


def train(config: FinetuneConfig, base: Path, examples: Path, result: Path) -> list[dict[str, Any]]:
    """Fine-tune, within `alone`; the adapter is in `result` afterwards. Returns the training history (loss by step).

    Continues from the last checkpoint of the same job. Raises UserError where the combination does not exist here or the ranks failed.
    """
    _possible(config)
    checkpoints = _checkpoints(config, base, examples)
    checkpoints.mkdir(parents=True, exist_ok=True)
    job = Job(config=config, base=base.absolute(), examples=examples.absolute(), checkpoints=checkpoints, lock=_lock(config, base, examples), result=result.absolute())
    files.write_text(checkpoints / "job.json", job.model_dump_json())
    processes = config.num_processes or num_devices()
    print(f"{config.method}, ZeRO stage {config.zero_stage}, {processes} process(es)" + (f" a node of {config.hostfile}" if config.hostfile else ""), flush=True)
    code = _await(subprocess.Popen(_command(config, processes, checkpoints / "job.json"), env=_environment(processes)))
    if code:
        raise UserError(f"fine-tuning stopped (exit code {code}); the reason is in the lines above. The same command continues from the last checkpoint in {checkpoints}")
    history: list[dict[str, Any]] = json.loads((result / "history.json").read_text())
    (result / "history.json").unlink()
    return history


def _await(ranks: "subprocess.Popen[bytes]") -> int:
    try:
        return ranks.wait()
    except KeyboardInterrupt:
        ranks.send_signal(signal.SIGTERM)
        ranks.wait()
        raise


def forget(base: Path, examples: Path, config: FinetuneConfig) -> None:
    """Remove the checkpoints of this job; those of other jobs stay."""
    shutil.rmtree(_checkpoints(config, base, examples), ignore_errors=True)


def _lock(config: FinetuneConfig, base: Path, examples: Path) -> Path:
    """Beside the checkpoints, which are removed while it is held."""
    return _checkpoints(config, base, examples).with_suffix(".lock")


def _checkpoints(config: FinetuneConfig, base: Path, examples: Path) -> Path:
    """The folder of a job, named by the digest of everything that decides its result."""
    identity = files.text_digest(config.model_dump_json() + files.digest(base) + files.digest(examples))[:16]
    return place.shared_state() / "checkpoints" / identity


def _possible(config: FinetuneConfig) -> None:
    if config.method == "qlora" and not has_gpu():
        raise UserError("params.yaml: finetune.method: qlora needs an NVIDIA GPU (bitsandbytes); none is seen here. Use lora")
    if config.precision == "fp16" and not has_gpu():
        raise UserError("params.yaml: finetune.precision: fp16 needs an NVIDIA GPU; none is seen here. Use auto")
    if config.hostfile and not Path(config.hostfile).exists():
        raise UserError(f"params.yaml: finetune.hostfile: {config.hostfile} is not there: write one line a node, `host slots=8`, or use null")


def _command(config: FinetuneConfig, processes: int, job: Path) -> list[str]:
    where = ["--hostfile", config.hostfile] if config.hostfile else ["--hostfile", os.devnull]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    count = "--num_gpus" if has_gpu() else "--num_accelerators"
    local = [] if config.hostfile else ["--master_addr", "127.0.0.1"]
    return [
        sys.executable,
        "-m",
        "deepspeed.launcher.runner",
        *where,
        count,
        str(processes),
        *local,
        "--master_port",
        str(port),
        "--log_level",
        "error",
        "--module",
        "pipelines.finetuning.worker",
        str(job),
    ]


def _environment(processes: int) -> dict[str, str]:
    threads = max(1, (os.cpu_count() or 1) // processes)
    return {**operator.environment(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)), "PYTHONPATH": str(Path.cwd())}
