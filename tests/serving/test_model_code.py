"""What an export would run, compared with what this checkout writes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.runtime import FOLDER
from pipelines.serving import model_code
from pipelines.vectorstore import load_encoder, locate_encoder
from tests.serving.conftest import ENCODER, EXPORT

FOREIGN = "is in no export of this checkout"
VLLM = EXPORT.model_copy(
    update={"backend": "vllm", "vllm": EXPORT.vllm.model_copy(update={"lora": "listed"})}
)


@pytest.fixture(scope="module")
def receipt(models: Path) -> Receipt:
    encoder = load_encoder(locate_encoder(ENCODER, None), precision="fp32")
    return Receipt(
        collection="Passages_1",
        digest="d",
        num_objects=8,
        dimensions=384,
        chunks_digest="d",
        vectors_digest="d",
        hybrid_alpha=0.7,
        server_version="1",
        encoder=Encoder(
            model=ENCODER,
            revision=None,
            digest=encoder.digest,
            engine="torch",
            precision="fp32",
            licence=None,
        ),
    )


@pytest.fixture(scope="module")
def sound(
    tmp_path_factory: pytest.TempPathFactory,
    receipt: Receipt,
    export: Callable[..., ReleaseRecord],
) -> Path:
    """An export as `export` writes it, with the encoder's own files (engine torch)."""
    folder = tmp_path_factory.mktemp("exports")
    export(folder / "sound", receipt, "r-sound", engine="transformers")
    return folder / "sound"


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    """An export that a test may change."""
    shutil.copytree(sound, tmp_path / "export")
    return tmp_path / "export"


def differences(export: Path) -> list[str]:
    return model_code.differences(export, EXPORT, 384)


def test_an_export_of_this_checkout_differs_in_nothing(sound: Path) -> None:
    assert (sound / "embedder/1/encoder/modules.json").is_file()
    assert differences(sound) == []


def test_every_file_of_code_and_every_configuration_counts(copy: Path) -> None:
    changed = [*copy.glob("*/1/runtime/*.py"), *copy.glob("*/1/model.py")]
    changed += copy.glob("*/config.pbtxt")
    for path in changed:
        path.write_text(path.read_text() + "\n")
    names = sorted(path.relative_to(copy).as_posix() for path in changed)
    assert len(names) == 3 * (len(list(FOLDER.glob("*.py"))) + 2)
    assert differences(copy) == [f"{name}: differs" for name in names]


def test_a_file_that_is_missing_is_named(copy: Path) -> None:
    (copy / "model_card.md").unlink()
    (copy / "generator/1/runtime/generation.py").unlink()
    (copy / "embedder/config.pbtxt").unlink()
    assert differences(copy) == [
        "embedder/config.pbtxt: missing",
        "generator/1/runtime/generation.py: missing",
        "model_card.md: missing",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "assistant/1/runtime/extra.py",
        "assistant/1/runtime/guard/__init__.py",  # a package goes before the module guard.py
        "assistant/1/runtime/guard.abi3.so",  # so does a compiled module
        "assistant/1/runtime/extra.pyc",
        "assistant/1/json.py",  # the version folder is in Python's search path
        "assistant/2/model.py",  # a version that another version policy could name
        "assistant/triton_python_backend_stub",  # Triton starts it instead of its own
        "embedder/1/encoder/extra.py",
        "generator/1/weights/extra.so",
        "generator/1/libtriton_python.so",
        "extra/config.pbtxt",
        "requirements.txt",
    ],
)
def test_a_file_that_no_export_holds_is_named(name: str, copy: Path) -> None:
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_text("import os\n")
    assert differences(copy) == [f"{name}: {FOREIGN}"]


def test_a_link_to_a_folder_is_no_data(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "generator/1/weights", tmp_path / "weights")
    (copy / "generator/1/weights").symlink_to(tmp_path / "weights")
    assert differences(copy) == [f"generator/1/weights: {FOREIGN}"]


def test_bytecode_that_a_killed_proof_left_is_removed_and_nothing_else(copy: Path) -> None:
    cache = copy / "assistant/1/runtime/__pycache__/guard.cpython-311.pyc"
    cache.parent.mkdir()
    cache.write_bytes(b"")
    name = cache.relative_to(copy).as_posix()
    assert differences(copy) == [f"{name}: {FOREIGN}"]
    model_code.remove_bytecode(copy)
    assert differences(copy) == []


def test_a_configuration_that_is_made_by_other_parameters_differs(sound: Path) -> None:
    config = EXPORT.model_copy(update={"max_batch_size": 32})
    assert model_code.differences(sound, config, 384) == ["generator/config.pbtxt: differs"]
    assert model_code.differences(sound, EXPORT, 768) == ["embedder/config.pbtxt: differs"]


def test_an_encoders_code_is_not_exported(tmp_path: Path) -> None:
    for name in ("config.json", "train.py", "1_Pooling/native.so", "__pycache__/train.pyc"):
        (tmp_path / "encoder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "encoder" / name).write_text("{}")
    shutil.copytree(tmp_path / "encoder", tmp_path / "export", ignore=model_code.ignore_importable)
    names = [path.name for path in (tmp_path / "export").rglob("*")]
    assert sorted(names) == ["1_Pooling", "config.json"]


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ({}, []),
        (
            {"trust_remote_code": True},
            ["trust_remote_code is no argument that this"],
        ),
    ],
)
def test_vllm_gets_no_argument_that_lets_it_load_code(
    arguments: dict[str, Any],
    problems: list[str],
    receipt: Receipt,
    export: Callable[..., ReleaseRecord],
    tmp_path: Path,
) -> None:
    target = tmp_path / "export"
    export(target, receipt, "r-vllm", config=VLLM, engine="transformers")
    path = target / "generator/1/model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **arguments}))
    lines = model_code.differences(target, VLLM, 384)
    assert len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(f"generator/1/model.json: {problem}")
