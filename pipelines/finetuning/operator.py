"""DeepSpeed's compiled operator for the CPU: `python -m pipelines.finetuning.operator` builds it (30 to 45 s, once a clone).

DeepSpeed's CPU accelerator reduces gradients between ranks through shared memory with it. Without it the first fine-tuning compiles it.
"""

import os
import sys
from pathlib import Path

from pipelines import place


def environment() -> dict[str, str]:
    """What DeepSpeed's processes need: the accelerator, where compiled operators lie, this environment's ninja, one log line less."""
    from pipelines.hardware import has_gpu

    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    extensions = str(place.shared_state() / "torch_extensions")
    accelerator = {} if has_gpu() else {"DS_ACCELERATOR": "cpu"}
    return {**os.environ, **accelerator, "PATH": programs, "TORCH_EXTENSIONS_DIR": extensions, "DS_LOG_LEVEL": "error", "TOKENIZERS_PARALLELISM": "false"}


def build() -> None:
    """Compile and load the operator; nothing to do with a GPU. Raises what the compiler says."""
    os.environ.update(environment())
    if os.environ.get("DS_ACCELERATOR") == "cpu":
        from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

        ShareMemCommBuilder().load()
    Path(os.environ["TORCH_EXTENSIONS_DIR"]).mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    build()
