"""Compiles DeepSpeed's operator for the CPU (30 to 45 s, once per clone).

`python -m pipelines.training.cpu_operator` is part of the set-up. DeepSpeed's CPU accelerator uses
the operator to reduce gradients between ranks through shared memory; if it was not built before,
the first fine-tuning compiles it.
"""

import os
import sys
from pathlib import Path

from pipelines.system import paths


def environment() -> dict[str, str]:
    """The environment of DeepSpeed's processes.

    It names the accelerator, the folder of compiled operators and this environment's ninja, and
    silences some log lines.
    """
    from pipelines.system.hardware import has_gpu

    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    accelerator = {} if has_gpu() else {"DS_ACCELERATOR": "cpu"}
    return {
        **os.environ,
        **accelerator,
        "PATH": programs,
        "TORCH_EXTENSIONS_DIR": str(paths.state_folder() / "torch_extensions"),
        "DS_LOG_LEVEL": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }


def build() -> None:
    """Compile and load the operator; a GPU needs none. Raises what the compiler says."""
    os.environ.update(environment())
    if os.environ.get("DS_ACCELERATOR") == "cpu":
        from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

        ShareMemCommBuilder().load()
    Path(os.environ["TORCH_EXTENSIONS_DIR"]).mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    build()
