import json
import shutil
from pathlib import Path

import pytest
import torch
from google.protobuf import text_format
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tritonclient.grpc import model_config_pb2

from pipelines import basemodel, files, generation, prompts
from pipelines.config.base import MadeModel
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig, ParityConfig, VllmConfig
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.errors import UserError
from pipelines.prompts import Prompt
from pipelines.serving import repository

CONFIG = ExportConfig(
    backend="python", version=3, max_batch_size=16, max_queue_delay_microseconds=2000, num_instances=2, max_texts=64, max_question_characters=300, max_prompt_tokens=200,
    max_new_tokens=9, timeout_seconds=20.0, search_timeout_seconds=2.0, max_requests_at_once=32,
    quantisation="none", parity=ParityConfig(num_prompts=10, min_same_tokens=0.9, min_same_answers=0.5),
    vllm=VllmConfig(repository="/models", lora="merged", gpu_memory_utilization=0.9, tensor_parallel_size=1),
)  # fmt: skip
EVALUATE = EvaluateConfig(top_k=5, num_passages=2, max_new_tokens=9, batch_size=8, precision="fp32", num_resamples=200, grounded_similarity=0.5, seed=7)
PROMPT = Prompt(name="faq-v1", description="", prompt="Question: {question}\nAnswer:", passage="")
TINY = MadeModel(vocabulary_size=400, hidden_size=16, num_layers=1, num_heads=2, num_tokens=2000, sequence_length=16, batch_size=2, learning_rate=0.001)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base, adapter and the repository that was written of them."""
    folder = tmp_path_factory.mktemp("made")
    basemodel.make(["Documents make a small model. " * 40], TINY, 7, folder / "base")
    torch.manual_seed(7)
    model = get_peft_model(generation.load(folder / "base").model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False))
    model.save_pretrained(folder / "adapter")
    prompts.save(PROMPT, folder / "adapter")
    (folder / "encoder").mkdir()
    (folder / "encoder/modules.json").write_text("[]")
    repository.write(CONFIG, EVALUATE, parts(folder), folder / "triton")
    return folder


def parts(folder: Path, digest: str = "") -> repository.Parts:
    encoder = Encoder(model="mini", revision=None, digest=digest or files.digest(folder / "encoder"), precision="bf16")
    receipt = Receipt(collection="Chunks_1", digest="i", num_objects=2, dimensions=3, encoder=encoder, chunks_digest="c", vectors_digest="v", hybrid_alpha=0.7, server_version="1")
    return repository.Parts(folder / "base", folder / "adapter", folder / "encoder", receipt, PROMPT, ["I cannot help with that."])


@pytest.fixture
def triton(made: Path, tmp_path: Path) -> Path:
    """A copy of the repository that a test may damage."""
    shutil.copytree(made / "triton", tmp_path / "triton")
    return tmp_path / "triton"


def test_the_repository_holds_model_code_and_prompt_and_passes_its_check(triton: Path) -> None:
    assert sorted(str(path.relative_to(triton)) for path in triton.rglob("*") if path.is_file()) == [
        *(
            f"assistant/3/{name}"
            for name in ("comparison.py", "engines.py", "exchange.py", "guard.py", "model.py", "peer.py", "rendering.py", "search.py", "settings.json", "traffic.py", "trafficlog.py")
        ),
        "assistant/config.pbtxt",
        "embedder/3/encoder/modules.json",
        "embedder/3/model.py",
        "embedder/3/settings.json",
        "embedder/3/unitvectors.py",
        "embedder/config.pbtxt",
        "embedder/warmup/question",
        "generator/3/exchange.py",
        "generator/3/generation.py",
        "generator/3/model.py",
        "generator/3/prompt.yaml",
        "generator/3/quantisation.py",
        "generator/3/settings.json",
        "generator/3/weights/config.json",
        "generator/3/weights/generation_config.json",
        "generator/3/weights/model.safetensors",
        "generator/3/weights/tokenizer.json",
        "generator/3/weights/tokenizer_config.json",
        "generator/config.pbtxt",
        "generator/warmup/question",
    ]
    repository.check(triton)


def test_the_merged_weights_answer_as_base_and_adapter_do(made: Path) -> None:
    questions = ["Question: Documents?\nAnswer:", "Question: small\nAnswer:"]
    merged = generation.load(made / "triton/generator/3/weights").answer(questions, 9, 2)
    assert merged == generation.load(made / "base", made / "adapter").answer(questions, 9, 2)
    assert merged != generation.load(made / "base").answer(questions, 9, 2)


def test_tritons_own_parser_reads_the_configuration_with_batching_and_warm_up(triton: Path) -> None:
    config = text_format.Parse((triton / "generator/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("generator", "python", 16)
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert [(group.count, group.kind) for group in config.instance_group] == [(2, model_config_pb2.ModelInstanceGroup.KIND_AUTO)]
    assert list(config.version_policy.specific.versions) == [3]
    assert config.model_transaction_policy.decoupled
    assert [(tensor.name, tensor.optional) for tensor in config.input] == [("prompt", False), ("max_new_tokens", True), ("stream", True), ("deadline", True)]
    assert [tensor.name for tensor in config.output] == ["piece", "answer", "num_prompt_tokens", "num_new_tokens", "final"]
    (warm,) = config.model_warmup
    assert (warm.batch_size, warm.count, list(warm.inputs)) == (1, 1, ["prompt"])
    assert (warm.inputs["prompt"].data_type, warm.inputs["prompt"].input_data_file) == (model_config_pb2.TYPE_STRING, "question")


@pytest.mark.parametrize(
    "name", ["model.py", "generation.py", "settings.json", "prompt.yaml", "weights/config.json", "weights/model.safetensors", "weights/tokenizer.json", "weights/tokenizer_config.json"]
)
def test_a_missing_file_is_refused_by_name(triton: Path, name: str) -> None:
    (triton / "generator/3" / name).unlink()
    with pytest.raises(UserError) as caught:
        repository.check(triton)
    assert str(caught.value) == f"{triton}/generator/3: is incomplete: {name} missing"


def test_a_missing_version_folder_and_a_missing_model_are_refused(triton: Path) -> None:
    shutil.rmtree(triton / "generator/3")
    with pytest.raises(UserError, match="generator/3: is incomplete: model.py, exchange.py, generation.py, quantisation.py, settings.json, prompt.yaml, weights/config.json"):
        repository.check(triton)
    shutil.rmtree(triton / "generator")
    with pytest.raises(UserError, match="triton holds no model generator"):
        repository.check(triton)


@pytest.mark.parametrize("size", [0, 7, 1000, -1])
def test_truncated_weights_are_refused(triton: Path, size: int) -> None:
    file = triton / "generator/3/weights/model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match="generator/3/weights/model.safetensors: is damaged: "):
        repository.check(triton)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(triton: Path, number: float) -> None:
    file = triton / "generator/3/weights/model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"][0, 0] = number
    save_file(tensors, file)
    with pytest.raises(UserError, match="model.safetensors: NaN or infinity in lm_head.weight$"):
        repository.check(triton)


def test_weights_without_tensors_are_refused(triton: Path) -> None:
    save_file({}, triton / "generator/3/weights/model.safetensors")
    with pytest.raises(UserError, match="model.safetensors: holds no tensors"):
        repository.check(triton)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('name: "other" version_policy { specific { versions: 3 } }', "name: 'other' is not the folder's name"),
        ('name: "generator"', "version_policy: names no version that is to be served"),
        ('name: "generator" surprise: 1', "is no Triton model configuration: "),
        ("name: {", "is no Triton model configuration: "),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_reason(triton: Path, text: str, problem: str) -> None:
    (triton / "generator/config.pbtxt").write_text(text)
    with pytest.raises(UserError) as caught:
        repository.check(triton)
    assert str(caught.value).startswith(f"{triton}/generator/config.pbtxt: {problem}")


def test_a_missing_configuration_is_refused(triton: Path) -> None:
    (triton / "generator/config.pbtxt").unlink()
    with pytest.raises(UserError, match="config.pbtxt: is no Triton model configuration: .*No such file"):
        repository.check(triton)


def test_an_absolute_path_of_this_machine_is_refused(triton: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = triton / "generator/3/weights/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"_name_or_path": str(triton.parent / "models/base")}))
    monkeypatch.chdir(triton.parent)
    with pytest.raises(UserError, match="generator/3/weights/config.json: holds a path of this machine"):
        repository.check(triton)


def test_an_encoder_that_is_not_the_indexs_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not the one that the index was made with: `dvc repro index`"):
        repository.write(CONFIG, EVALUATE, parts(made, digest="another"), tmp_path / "triton")


def test_the_assistant_goes_by_what_evaluate_measured_and_says_its_release(triton: Path) -> None:
    repository.name(triton, 3, "r-1")
    settings = json.loads((triton / "assistant/3/settings.json").read_text())
    assert (settings["top_k"], settings["num_passages"], settings["collection"], settings["release_id"]) == (5, 2, "Chunks_1", "r-1")
    assert (settings["prompt"], settings["refusals"]) == (PROMPT.prompt, ["I cannot help with that."])


def vllm(lora: str) -> ExportConfig:
    return CONFIG.model_copy(update={"backend": "vllm", "vllm": VllmConfig(repository="/models", lora=lora, gpu_memory_utilization=0.8, tensor_parallel_size=2)})  # type: ignore[arg-type]


def test_backend_vllm_gets_the_engines_arguments_by_the_paths_that_its_container_sees(made: Path, tmp_path: Path) -> None:
    target = tmp_path / "triton"
    repository.write(vllm("merged"), EVALUATE, parts(made), target)
    repository.check(target)
    assert json.loads((target / "generator/3/model.json").read_text()) == {
        "model": "/models/generator/3/weights", "dtype": "float32", "max_model_len": 209, "max_num_seqs": 16, "gpu_memory_utilization": 0.8, "tensor_parallel_size": 2,
    }  # fmt: skip
    config = text_format.Parse((target / "generator/config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert (config.backend, config.max_batch_size, config.model_transaction_policy.decoupled) == ("vllm", 0, True)
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, model_config_pb2.ModelInstanceGroup.KIND_MODEL)]
    assert not list((target / "generator").rglob("*.py"))
    settings = json.loads((target / "assistant/3/settings.json").read_text())
    assert (settings["backend"], settings["lora"]) == ("vllm", None)


def test_a_listed_adapter_stands_beside_the_base_models_weights(made: Path, tmp_path: Path) -> None:
    target = tmp_path / "triton"
    repository.write(vllm("listed"), EVALUATE, parts(made), target)
    repository.check(target)
    engine = json.loads((target / "generator/3/model.json").read_text())
    assert (engine["enable_lora"], engine["max_lora_rank"], engine["max_loras"]) == (True, 2, 1)
    assert json.loads((target / "generator/3/multi_lora.json").read_text()) == {"candidate": "/models/generator/3/loras/candidate"}
    assert json.loads((target / "assistant/3/settings.json").read_text())["lora"] == "candidate"
    assert sorted(path.name for path in (target / "generator/3/loras/candidate").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    questions = ["Question: What is this?\nAnswer:"] * 2
    given, base, tuned = (generation.load(*paths).answer(questions, 9, 2) for paths in ((target / "generator/3/weights",), (made / "base",), (made / "base", made / "adapter")))
    assert given == base
    again = generation.load(target / "generator/3/weights", target / "generator/3/loras/candidate").answer(questions, 9, 2)
    assert again == tuned


def test_an_adapter_that_vllm_cannot_list_is_refused(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "other")
    path = tmp_path / "other/adapter/adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "modules_to_save": ["lm_head"]}))
    with pytest.raises(UserError, match="export.vllm.lora: listed needs a LoRA adapter that trains no whole layers"):
        repository.write(vllm("listed"), EVALUATE, parts(tmp_path / "other"), tmp_path / "triton")


def test_a_missing_list_of_the_engines_arguments_is_refused(made: Path, tmp_path: Path) -> None:
    repository.write(vllm("merged"), EVALUATE, parts(made), tmp_path / "triton")
    (tmp_path / "triton/generator/3/model.json").unlink()
    with pytest.raises(UserError, match="generator/3: is incomplete: model.json missing"):
        repository.check(tmp_path / "triton")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backend": "vllm", "quantisation": "int8"}, "quantisation: int8 is for backend python"),
        ({"vllm": {"repository": "/models", "lora": "listed", "gpu_memory_utilization": 0.8, "tensor_parallel_size": 1}}, "vllm.lora: listed is for backend vllm"),
        ({"backend": "tensorrtllm"}, "Input should be 'python' or 'vllm'"),
        ({"quantisation": "int2"}, "Input should be 'none', 'int8' or 'int4'"),
    ],
)
def test_what_a_back_end_does_not_have_is_refused_with_its_reason(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ExportConfig.model_validate({**CONFIG.model_dump(), **changed})
