"""Known-bad exports: each is refused by what a fresh, real Triton loads and answers, with the server's own message."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines import files
from pipelines.config.serve import ProofConfig
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import Report
from pipelines.serving import proof
from pipelines.vectorstore import collections
from pipelines.vectorstore import server as weaviate

CONFIG = ProofConfig(num_questions=8, min_same_answers=1.0, min_same_citations=1.0)
WEIGHTS = "generator/1/weights/model.safetensors"


@pytest.fixture(scope="module")
def good(serving: Path, models: Path, export: Callable[..., ReleaseRecord], evaluated: Callable[[Receipt], list[dict[str, Any]]]) -> tuple[ReleaseRecord, list[dict[str, Any]]]:
    """A sound export in `good`, and what evaluate recorded."""
    receipt = collections.build(models / "chunks.parquet", models / "vectors.parquet", keep=3, sample=4, hybrid_alpha=0.7)
    return export(Path("good"), receipt, "r-good"), evaluated(receipt)


def proven(folder: Path, good: tuple[ReleaseRecord, list[dict[str, Any]]]) -> Report:
    with weaviate.addressed() as environment:
        return proof.prove(folder, *good, CONFIG, environment, Path("proof.log"))


def failed(report: Report) -> dict[str, str]:
    assert not report.passed
    return {check.name: check.observed for check in report.checks if not check.passed}


def truncate(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1000])


def reshape(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = "model.layers.0.self_attn.q_proj.weight"
    save_file({**tensors, name: tensors[name][:, :16].contiguous()}, folder / WEIGHTS, metadata={"format": "pt"})


def make_infinite(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file({name: torch.full_like(tensor, torch.nan) for name, tensor in tensors.items()}, folder / WEIGHTS, metadata={"format": "pt"})


def forget(folder: Path) -> None:
    (folder / "generator/1/generation.py").unlink()


def swap_tokens(folder: Path) -> None:
    path = folder / "generator/1/weights/tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    names = [name for name, number in sorted(vocabulary.items(), key=lambda item: item[1]) if len(name) > 1 and not name.startswith("<")]
    vocabulary.update(zip(names, [vocabulary[name] for name in reversed(names)], strict=True))
    path.write_text(json.dumps(tokenizer))


def make_other_version(folder: Path) -> None:
    for model in ("embedder", "generator", "assistant"):
        (folder / model / "1").rename(folder / model / "2")
        text = (folder / model / "config.pbtxt").read_text()
        (folder / model / "config.pbtxt").write_text(text.replace("versions: 1", "versions: 2"))


def change_prompt(folder: Path) -> None:
    path = folder / "assistant/1/settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prompt": "Reply to {question}"}))


def make_another_release(folder: Path) -> None:
    path = folder / "assistant/1/settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "release_id": "r-another"}))


def test_a_sound_export_passes_every_check(good: tuple[ReleaseRecord, list[dict[str, Any]]]) -> None:
    before = files.digest(Path("good"))
    report = proven(Path("good"), good)
    assert report.passed, report.reason
    assert files.digest(Path("good")) == before  # the server left nothing behind: DVC would see a changed export
    assert report.checks[1].observed == "assistant 1, embedder 1, generator 1"


@pytest.mark.parametrize(
    ("damage", "check", "said"),
    [
        (forget, "the repository loads", "No module named 'generation'"),
        (truncate, "the repository loads", "generator"),
        (reshape, "the repository loads", "generator"),
        (make_infinite, "answers equal evaluate's", "0 of 8"),
        (swap_tokens, "answers equal evaluate's", "of 8"),
        (make_other_version, "exactly this version is loaded", "assistant 2, embedder 2, generator 2"),
        pytest.param(change_prompt, "answers equal evaluate's", "of 8", marks=pytest.mark.slow),
        pytest.param(make_another_release, "this release answered, as the server says", "8 of 8 by another", marks=pytest.mark.slow),
    ],
)
def test_a_bad_export_is_refused_with_what_the_server_says(damage: Callable[[Path], None], check: str, said: str, good: tuple[ReleaseRecord, list[dict[str, Any]]]) -> None:
    bad = Path(f"bad-{damage.__name__}")
    shutil.copytree("good", bad)
    damage(bad)
    found = failed(proven(bad, good))
    assert check in found
    assert said in found[check]
    shutil.rmtree(bad)


@pytest.mark.slow
def test_questions_that_were_not_evaluated_prove_nothing(good: tuple[ReleaseRecord, list[dict[str, Any]]]) -> None:
    found = failed(proven(Path("good"), (good[0], [])))
    assert "golden questions were asked" in found
