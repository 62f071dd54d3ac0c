"""What this machine computes with: GPUs, number formats.

Without a GPU nothing is imported: torch takes seconds, and most commands need it for nothing else.
"""

from pathlib import Path

# Of the kernel's drivers; /dev/dxg is that of WSL.
GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


def computes_in_bf16() -> bool:
    """Whether the GPU, or without one the CPU, has bf16 instructions."""
    if has_gpu():
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(BF16_FLAGS.intersection(_cpu_flags()))


def has_gpu() -> bool:
    """Whether torch sees an NVIDIA GPU."""
    if not any(device.exists() for device in GPU_DEVICES):
        return False
    import torch

    return bool(torch.cuda.is_available())


def num_devices() -> int:
    """The number of GPUs, or 1 for the CPU."""
    import torch

    return int(torch.cuda.device_count()) or 1


def _cpu_flags() -> list[str]:
    """The instructions of an x86 CPU by Linux's names; none of another CPU."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return line.split()
    return []
