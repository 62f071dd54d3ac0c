"""What this machine computes with: GPUs, number formats."""


def computes_in_bf16() -> bool:
    """Whether the GPU, or without one the CPU, has bf16 instructions."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def has_gpu() -> bool:
    """Whether torch sees an NVIDIA GPU."""
    import torch

    return bool(torch.cuda.is_available())


def num_devices() -> int:
    """The number of GPUs, or 1 for the CPU."""
    import torch

    return int(torch.cuda.device_count()) or 1
