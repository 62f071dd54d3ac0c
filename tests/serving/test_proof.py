"""Bad exports: each is refused by what a fresh, real Triton loads and answers."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines import files, vectorstore
from pipelines.config.proof import ProofConfig
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import CheckCode
from pipelines.errors import Refusal
from pipelines.serving import proof
from pipelines.serving.proof import Proof
from tests.serving.conftest import change_settings

CONFIG = ProofConfig(num_questions=8, num_clients=8, min_same_answers=1.0, min_same_citations=1.0)
WEIGHTS = "generator/1/weights/model.safetensors"
SETTINGS = "assistant/1/settings.json"
Sound = tuple[ReleaseRecord, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def sound(
    serving: Path,
    models: Path,
    export: Callable[..., ReleaseRecord],
    evaluated: Callable[[Receipt], list[dict[str, Any]]],
) -> Sound:
    """A sound export in `sound`, and what evaluate recorded."""
    chunks = models / "chunks.parquet"
    vectors = models / "vectors.parquet"
    receipt = vectorstore.build_index(chunks, vectors, keep=3, sample=4, hybrid_alpha=0.7)
    return export(Path("sound"), receipt, "r-sound", engine="transformers"), evaluated(receipt)


def prove(folder: Path, sound: Sound) -> Proof:
    with vectorstore.server_address() as environment:
        return proof.prove(folder, *sound, CONFIG, environment)


def failures(result: Proof) -> dict[str, str]:
    """Name of each check that failed -> what was observed. Each says what to do."""
    assert not result.report.passed
    assert all(check.remedy for check in result.report.failures())
    return {check.name: check.observed for check in result.report.failures()}


def save_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def truncate(folder: Path) -> None:
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1000])


def reshape(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = "model.layers.0.self_attn.q_proj.weight"
    tensors[name] = tensors[name][:, :16].contiguous()
    save_tensors(folder, tensors)


def make_infinite(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    for tensor in tensors.values():
        tensor.fill_(torch.nan)
    save_tensors(folder, tensors)


def forget_module(folder: Path) -> None:
    (folder / "generator/1/runtime/generation.py").unlink()


def swap_tokens(folder: Path) -> None:
    path = folder / "generator/1/weights/tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    by_number = sorted(vocabulary, key=lambda name: int(vocabulary[name]))
    names = [name for name in by_number if len(name) > 1 and not name.startswith("<")]
    numbers = [vocabulary[name] for name in reversed(names)]
    vocabulary.update(zip(names, numbers, strict=True))
    path.write_text(json.dumps(tokenizer))


def change_version(folder: Path) -> None:
    for model in ("embedder", "generator", "assistant"):
        (folder / model / "1").rename(folder / model / "2")
        text = (folder / model / "config.pbtxt").read_text()
        (folder / model / "config.pbtxt").write_text(text.replace("versions: 1", "versions: 2"))


def change_prompt(folder: Path) -> None:
    change_settings(folder / SETTINGS, prompt="Reply to {question}")


def change_release(folder: Path) -> None:
    change_settings(folder / SETTINGS, release_id="r-another")


def test_a_sound_export_passes_every_check(sound: Sound) -> None:
    before = files.digest(Path("sound"))
    result = prove(Path("sound"), sound)
    assert result.report.passed, result.report.reason
    # The server left nothing behind: DVC would see a changed export.
    assert files.digest(Path("sound")) == before
    assert result.report.checks[1].observed == "assistant 1, embedder 1, generator 1"
    assert (result.same_answers, result.same_citations) == ("8 of 8", "8 of 8")


@pytest.mark.parametrize(
    ("damage", "check", "observation"),
    [
        (forget_module, "the repository loads", "cannot import name 'generation'"),
        pytest.param(truncate, "the repository loads", "generator", marks=pytest.mark.slow),
        pytest.param(reshape, "the repository loads", "generator", marks=pytest.mark.slow),
        (make_infinite, "answers equal evaluate's", "0 of 8"),
        pytest.param(swap_tokens, "answers equal evaluate's", "of 8", marks=pytest.mark.slow),
        pytest.param(
            change_version,
            "exactly this version is loaded",
            "assistant 2, embedder 2, generator 2",
            marks=pytest.mark.slow,
        ),
        pytest.param(change_prompt, "answers equal evaluate's", "of 8", marks=pytest.mark.slow),
        pytest.param(
            change_release,
            "this release answered, as the server says",
            "8 of 8 answers are by another",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_bad_export_is_refused_with_what_the_server_says(
    damage: Callable[[Path], None], check: str, observation: str, sound: Sound
) -> None:
    folder = Path(f"bad-{damage.__name__}")
    shutil.copytree("sound", folder)
    damage(folder)
    observations = failures(prove(folder, sound))
    assert check in observations
    assert observation in observations[check]
    shutil.rmtree(folder)


def test_answers_that_take_too_long_are_told_with_the_keys_that_decide_it(sound: Sound) -> None:
    shutil.copytree("sound", "hasty")
    change_settings(Path("hasty") / SETTINGS, timeout_seconds=0.001)
    result = prove(Path("hasty"), sound)
    assert failures(result) == {"every answer comes in time": "8 of 8 took longer than 0.001 s"}
    with pytest.raises(Refusal) as caught:
        result.report.demand("the proof", "Nothing changes.")
    assert str(caught.value).splitlines()[1:] == [
        "  - every answer comes in time: 8 of 8 took longer than 0.001 s, expected none "
        "(export.timeout_seconds is 0.001 s)",
        "    Raise export.timeout_seconds, or lower export.max_new_tokens (24) or "
        "proof.num_clients (8 questions at once). Then run `dvc repro export`, and release again",
    ]


def test_answers_that_differ_are_shown_beside_evaluates_in_one_line_each(sound: Sound) -> None:
    record, rows = sound
    changes = [{**row, "answer": f"{row['answer']}\n\x1b[2J{'x' * 99}"} for row in rows]
    result = prove(Path("sound"), (record, changes))
    check = result.report.check(CheckCode.SAME_ANSWERS)
    assert (check.passed, check.observed) == (False, "0 of 8")
    assert check.expected == "at least 100 % (proof.min_same_answers)"
    assert len(check.examples) == 3
    for example in check.examples:
        assert example.isprintable()
        assert len(example) < 300
        assert re.search(r"': evaluate '.*\\n\\x1b\[2Jx+\.\.\.', Triton '", example)


def test_questions_are_spread_over_all_whatever_their_number() -> None:
    rows = [{"number": number} for number in range(119)]
    numbers = [row["number"] for row in proof._sample(rows, 60)]
    assert len(numbers) == 60
    assert numbers[-1] >= 117
    assert proof._sample(rows[:3], 60) == rows[:3]


@pytest.mark.slow
def test_questions_that_were_not_evaluated_prove_nothing(sound: Sound) -> None:
    record, _ = sound
    assert "golden questions were asked" in failures(prove(Path("sound"), (record, [])))
