import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from google.protobuf import text_format
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from tritonclient.grpc import model_config_pb2

from pipelines import files
from pipelines.config.base import MadeModel
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig, ParityConfig, VllmConfig
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.errors import UserError
from pipelines.questions import prompts
from pipelines.questions.prompts import Message, Prompt
from pipelines.runtime import FOLDER, rendering, transformers_engine
from pipelines.runtime.generation import Answer
from pipelines.runtime.withholding import Limits
from pipelines.serving import model_repository
from pipelines.training import base_model
from tests import made_guard

CONFIG = ExportConfig(
    backend="python",
    version=3,
    max_batch_size=16,
    max_queue_delay_microseconds=2000,
    num_instances=2,
    max_texts=64,
    max_question_characters=300,
    max_prompt_tokens=200,
    max_new_tokens=9,
    timeout_seconds=20.0,
    search_timeout_seconds=2.0,
    max_requests_at_once=32,
    quantisation="none",
    parity=ParityConfig(
        num_prompts=10, num_engine_prompts=10, min_same_tokens=0.9, min_same_answers=0.5
    ),
    vllm=VllmConfig(
        repository="/models", lora="merged", gpu_memory_utilization=0.9, tensor_parallel_size=1
    ),
)
EVALUATE = EvaluateConfig(
    top_k=5,
    num_passages=2,
    max_readings=1,
    max_prompt_tokens=200,
    max_new_tokens=9,
    batch_size=8,
    precision="fp32",
    num_base_questions=150,
    num_resamples=200,
    grounded_similarity=0.5,
    seed=7,
)
LIMITS = Limits(refusal="Not there.", min_support=0.5, min_log_probability=-0.25)
PROMPT = Prompt(name="faq-v1", description="", prompt="Question: {question}\nAnswer:", passage="")
CHAT = Prompt(
    name="chat-v1",
    description="",
    messages=[
        Message(role="system", content="Be brief."),
        Message(role="user", content="{passages}Q: {question}"),
    ],
    passage="{text}\n",
    refusal="Not there.",
)
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
RUNTIME = [f"runtime/{path.name}" for path in sorted(FOLDER.glob("*.py"))]


@pytest.fixture(scope="module")
def parts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base, adapter, encoder and the repository that was written from them."""
    folder = tmp_path_factory.mktemp("parts")
    base_model.make(["Documents make a small model. " * 40], TINY, 7, folder / "base")
    torch.manual_seed(7)
    lora = LoraConfig(
        r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    base = transformers_engine.load(folder / "base").model
    get_peft_model(base, lora).save_pretrained(folder / "adapter")
    prompts.save(PROMPT, folder / "adapter")
    (folder / "encoder").mkdir()
    (folder / "encoder/modules.json").write_text("[]")
    model_repository.write(CONFIG, EVALUATE, parts(folder), folder / "triton")
    return folder


def parts(folder: Path, encoder_digest: str = "", guard_digest: str = "") -> model_repository.Parts:
    encoder = Encoder(
        model="mini",
        revision=None,
        digest=encoder_digest or files.digest(folder / "encoder"),
        precision="bf16",
    )
    receipt = Receipt(
        collection="Chunks_1",
        digest="i",
        num_objects=2,
        dimensions=3,
        encoder=encoder,
        chunks_digest="c",
        vectors_digest="v",
        hybrid_alpha=0.7,
        server_version="1",
    )
    return model_repository.Parts(
        folder / "base",
        folder / "adapter",
        folder / "encoder",
        receipt,
        PROMPT,
        ["I cannot help with that."],
        "transformers",
        LIMITS,
        made_guard.make(guard_digest or encoder.digest, 3),
    )


@pytest.fixture
def triton(parts_folder: Path, tmp_path: Path) -> Path:
    """A copy of the repository that a test may damage."""
    shutil.copytree(parts_folder / "triton", tmp_path / "triton")
    return tmp_path / "triton"


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def read_configuration(path: Path) -> Any:
    """A config.pbtxt, by Triton's own parser."""
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def files_of(folder: Path) -> list[str]:
    """Paths of all files below, relative and sorted."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path) for path in paths)


def test_the_repository_holds_models_code_and_prompt_and_passes_its_check(triton: Path) -> None:
    assert len(RUNTIME) > 15
    assert files_of(triton / "assistant") == [
        "3/guard.json",
        "3/model.py",
        *(f"3/{name}" for name in RUNTIME),
        "3/settings.json",
        "config.pbtxt",
    ]
    assert files_of(triton / "embedder") == [
        "3/encoder/modules.json",
        "3/model.py",
        *(f"3/{name}" for name in RUNTIME),
        "3/settings.json",
        "config.pbtxt",
        "warmup/question",
    ]
    assert files_of(triton / "generator") == [
        "3/model.py",
        "3/prompt.yaml",
        *(f"3/{name}" for name in RUNTIME),
        "3/settings.json",
        "3/weights/config.json",
        "3/weights/generation_config.json",
        "3/weights/model.safetensors",
        "3/weights/tokenizer.json",
        "3/weights/tokenizer_config.json",
        "config.pbtxt",
        "warmup/question",
    ]
    model_repository.check(triton)


@pytest.mark.parametrize("model", ["assistant", "embedder", "generator"])
def test_each_models_code_is_one_import_from_the_runtime(triton: Path, model: str) -> None:
    code = (triton / model / "3/model.py").read_text()
    assert f"from .runtime.{model} import TritonPythonModel" in code.splitlines()


def test_the_warm_up_is_a_question_as_triton_stores_it(triton: Path) -> None:
    content = (triton / "embedder/warmup/question").read_bytes()
    assert content == b"\x0f\x00\x00\x00How do I begin?"


def test_the_runtime_imports_nothing_else_of_ours(triton: Path) -> None:
    for path in (triton / "assistant/3/runtime").glob("*.py"):
        assert "import pipelines" not in path.read_text()
        assert "from pipelines" not in path.read_text()


def test_the_merged_weights_answer_as_base_and_adapter_do(parts_folder: Path) -> None:
    questions = ["Question: Documents?\nAnswer:", "Question: small\nAnswer:"]
    merged = transformers_engine.load(parts_folder / "triton/generator/3/weights").answer(
        questions, 9, 2
    )
    assert merged == transformers_engine.load(
        parts_folder / "base", parts_folder / "adapter"
    ).answer(questions, 9, 2)
    assert merged != transformers_engine.load(parts_folder / "base").answer(questions, 9, 2)


def test_tritons_own_parser_reads_the_configuration_with_batching_and_warm_up(triton: Path) -> None:
    config = read_configuration(triton / "generator/config.pbtxt")
    assert (config.name, config.backend, config.max_batch_size) == ("generator", "python", 16)
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert [(group.count, group.kind) for group in config.instance_group] == [
        (2, model_config_pb2.ModelInstanceGroup.KIND_AUTO)
    ]
    assert list(config.version_policy.specific.versions) == [3]
    assert config.model_transaction_policy.decoupled
    assert [(tensor.name, tensor.optional) for tensor in config.input] == [
        ("prompt", False),
        ("max_new_tokens", True),
        ("stream", True),
        ("deadline", True),
    ]
    assert [tensor.name for tensor in config.output] == [
        "piece",
        "answer",
        "num_prompt_tokens",
        "num_new_tokens",
        "mean_log_probability",
        "final",
    ]
    (warm,) = config.model_warmup
    assert (warm.batch_size, warm.count, list(warm.inputs)) == (1, 1, ["prompt"])
    assert (warm.inputs["prompt"].data_type, warm.inputs["prompt"].input_data_file) == (
        model_config_pb2.TYPE_STRING,
        "question",
    )


@pytest.mark.parametrize(
    "name",
    [
        "model.py",
        "runtime/generation.py",
        "settings.json",
        "prompt.yaml",
        "weights/config.json",
        "weights/tokenizer.json",
        "weights/tokenizer_config.json",
    ],
)
def test_a_missing_file_is_refused_by_name(triton: Path, name: str) -> None:
    (triton / "generator/3" / name).unlink()
    with pytest.raises(UserError) as caught:
        model_repository.check(triton)
    assert str(caught.value) == f"{triton}/generator/3: is incomplete: {name} missing"


def test_missing_weights_are_refused_by_both_names_that_they_may_have(triton: Path) -> None:
    (triton / "generator/3/weights/model.safetensors").unlink()
    message = "weights: is incomplete: model.safetensors or openvino_model.xml missing$"
    with pytest.raises(UserError, match=message):
        model_repository.check(triton)


def test_a_missing_version_folder_and_a_missing_model_are_refused(triton: Path) -> None:
    shutil.rmtree(triton / "generator/3")
    num_files = 1 + len(RUNTIME) + 5  # model.py and settings.json, prompt.yaml, three of weights
    message = (
        "generator/3: is incomplete: model.py, runtime/__init__.py, runtime/arrays.py "
        f"and {num_files - 3} more missing"
    )
    with pytest.raises(UserError, match=message):
        model_repository.check(triton)
    shutil.rmtree(triton / "generator")
    with pytest.raises(UserError, match="triton holds no model generator"):
        model_repository.check(triton)


@pytest.mark.parametrize("size", [0, 7, 1000, -1])
def test_truncated_weights_are_refused(triton: Path, size: int) -> None:
    file = triton / "generator/3/weights/model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match="generator/3/weights/model.safetensors: is damaged: "):
        model_repository.check(triton)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(triton: Path, number: float) -> None:
    file = triton / "generator/3/weights/model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"][0, 0] = number
    save_file(tensors, file)
    with pytest.raises(UserError, match="model.safetensors: NaN or infinity in lm_head.weight$"):
        model_repository.check(triton)


def test_weights_without_tensors_are_refused(triton: Path) -> None:
    save_file({}, triton / "generator/3/weights/model.safetensors")
    with pytest.raises(UserError, match="model.safetensors: holds no tensors"):
        model_repository.check(triton)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'name: "other" version_policy { specific { versions: 3 } }',
            "name: 'other' is not the folder's name",
        ),
        ('name: "generator"', "version_policy: names no version that is to be served"),
        ('name: "generator" surprise: 1', "is not a valid Triton model configuration: "),
        ("name: {", "is not a valid Triton model configuration: "),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_reason(
    triton: Path, text: str, problem: str
) -> None:
    (triton / "generator/config.pbtxt").write_text(text)
    with pytest.raises(UserError) as caught:
        model_repository.check(triton)
    assert str(caught.value).startswith(f"{triton}/generator/config.pbtxt: {problem}")


def test_a_missing_configuration_is_refused(triton: Path) -> None:
    (triton / "generator/config.pbtxt").unlink()
    message = "config.pbtxt: is not a valid Triton model configuration: .*No such file"
    with pytest.raises(UserError, match=message):
        model_repository.check(triton)


def test_an_absolute_path_of_this_machine_is_refused(
    triton: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = triton / "generator/3/weights/config.json"
    change_json(file, _name_or_path=str(triton.parent / "models/base"))
    monkeypatch.chdir(triton.parent)
    message = "generator/3/weights/config.json: holds a path of this machine"
    with pytest.raises(UserError, match=message):
        model_repository.check(triton)


def test_a_guard_of_another_encoder_is_refused(parts_folder: Path, tmp_path: Path) -> None:
    foreign = parts(parts_folder, guard_digest="another")
    with pytest.raises(UserError, match="vectors of another encoder .*: `dvc repro guard`"):
        model_repository.write(CONFIG, EVALUATE, foreign, tmp_path / "new")


def test_an_encoder_that_is_not_the_indexs_is_refused(parts_folder: Path, tmp_path: Path) -> None:
    foreign = parts(parts_folder, encoder_digest="another")
    message = "is not the one that the index was made with: `dvc repro index`"
    with pytest.raises(UserError, match=message):
        model_repository.write(CONFIG, EVALUATE, foreign, tmp_path / "triton")


def test_the_assistant_goes_by_what_evaluate_measured_and_says_its_release(triton: Path) -> None:
    model_repository.name(triton, 3, "r-1")
    settings = json.loads((triton / "assistant/3/settings.json").read_text())
    assert (settings["top_k"], settings["num_passages"]) == (5, 2)
    assert (settings["collection"], settings["release_id"]) == ("Chunks_1", "r-1")
    assert settings["prompt"] == PROMPT.prompt
    assert settings["refusals"] == ["I cannot help with that."]
    assert Limits(**settings["withholding"]) == LIMITS


def vllm(lora: Literal["merged", "listed"]) -> ExportConfig:
    settings = VllmConfig(
        repository="/models", lora=lora, gpu_memory_utilization=0.8, tensor_parallel_size=2
    )
    return CONFIG.model_copy(update={"backend": "vllm", "vllm": settings})


def test_backend_vllm_gets_the_engines_arguments_by_the_paths_that_its_container_sees(
    parts_folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "triton"
    model_repository.write(vllm("merged"), EVALUATE, parts(parts_folder), target)
    model_repository.check(target)
    assert json.loads((target / "generator/3/model.json").read_text()) == {
        "model": "/models/generator/3/weights",
        "dtype": "float32",
        "max_model_len": 209,
        "max_num_seqs": 16,
        "gpu_memory_utilization": 0.8,
        "tensor_parallel_size": 2,
    }
    config = read_configuration(target / "generator/config.pbtxt")
    assert (config.backend, config.max_batch_size) == ("vllm", 0)
    assert config.model_transaction_policy.decoupled
    (instances,) = config.instance_group
    assert instances.count == 1
    assert instances.kind == model_config_pb2.ModelInstanceGroup.KIND_MODEL
    assert not list((target / "generator").rglob("*.py"))
    settings = json.loads((target / "assistant/3/settings.json").read_text())
    assert (settings["backend"], settings["lora"]) == ("vllm", None)


def write_chat(folder: Path, config: ExportConfig) -> Path:
    """A repository for a base model with a chat template, and its folder."""
    chat_folder = folder / "chat"
    shutil.copytree(folder / "parts", chat_folder)
    (chat_folder / "base/chat_template.jinja").write_text(
        "{{ bos_token }}{% for message in messages %}{{ message.role + ': ' + message.content }}"
        "</s>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    chat_parts = parts(chat_folder)._replace(prompt=CHAT)
    prompts.save(CHAT, chat_folder / "adapter")
    model_repository.write(config, EVALUATE, chat_parts, folder / "triton")
    model_repository.check(folder / "triton")
    return folder / "triton"


@pytest.fixture
def chat_folder(parts_folder: Path, tmp_path: Path) -> Path:
    """A folder with a copy of the parts."""
    ignore = shutil.ignore_patterns("triton")
    shutil.copytree(parts_folder, tmp_path / "parts", ignore=ignore)
    return tmp_path


def test_messages_go_to_the_generator_as_they_are_with_the_chat_template_beside_the_weights(
    chat_folder: Path,
) -> None:
    target = write_chat(chat_folder, CONFIG)
    assistant = json.loads((target / "assistant/3/settings.json").read_text())
    generator = json.loads((target / "generator/3/settings.json").read_text())
    assert assistant["prompt"] == CHAT.form
    assert (assistant["control_tokens"], generator["takes_messages"]) == ([], True)
    warm_up = (target / "generator/warmup/question").read_bytes()[4:].decode()  # after its length
    messages = rendering.unpack(warm_up, holds_messages=True)
    served = transformers_engine.load(target / "generator/3/weights")
    tokens = served.row(messages, 1).prompt
    assert served.tokenizer.decode(tokens) == (
        "<s>system: Be brief.</s>user: Q: How do I begin?</s>assistant:"
    )
    assert prompts.load(target / "generator/3/prompt.yaml") == CHAT


def test_vllm_gets_a_text_with_messages_as_the_chat_template_writes_them(
    chat_folder: Path,
) -> None:
    target = write_chat(chat_folder, vllm("merged"))
    settings = json.loads((target / "assistant/3/settings.json").read_text())
    text = "<s>system: Be brief.</s>user: {passages}Q: {question}</s>assistant:"
    assert settings["prompt"] == text
    assert settings["control_tokens"] == ["</s>", "<pad>", "<s>"]


def test_vllm_that_begins_each_text_itself_gets_it_without_the_beginning(
    chat_folder: Path,
) -> None:
    path = chat_folder / "parts/base/tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(path))
    target = write_chat(chat_folder, vllm("merged"))
    settings = json.loads((target / "assistant/3/settings.json").read_text())
    text = "system: Be brief.</s>user: {passages}Q: {question}</s>assistant:"
    assert settings["prompt"] == text


def test_a_listed_adapter_stands_beside_the_base_models_weights(
    parts_folder: Path, tmp_path: Path
) -> None:
    generator = tmp_path / "triton/generator/3"
    adapter = generator / "loras/candidate"
    model_repository.write(vllm("listed"), EVALUATE, parts(parts_folder), tmp_path / "triton")
    model_repository.check(tmp_path / "triton")
    engine = json.loads((generator / "model.json").read_text())
    adapters = json.loads((generator / "multi_lora.json").read_text())
    settings = json.loads((tmp_path / "triton/assistant/3/settings.json").read_text())
    assert (engine["enable_lora"], engine["max_lora_rank"], engine["max_loras"]) == (True, 2, 1)
    assert adapters == {"candidate": "/models/generator/3/loras/candidate"}
    assert settings["lora"] == "candidate"
    assert files_of(adapter) == ["adapter_config.json", "adapter_model.safetensors"]

    def answers(base: Path, adapter: Path | None = None) -> list[Answer]:
        questions = ["Question: What is this?\nAnswer:"] * 2
        return transformers_engine.load(base, adapter).answer(questions, 9, 2)

    base = parts_folder / "base"
    assert answers(generator / "weights") == answers(base)
    assert answers(generator / "weights", adapter) == answers(base, parts_folder / "adapter")


def test_an_adapter_that_vllm_cannot_list_is_refused(parts_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(parts_folder, folder)
    change_json(folder / "adapter/adapter_config.json", modules_to_save=["lm_head"])
    message = "export.vllm.lora: listed needs a LoRA adapter that trains no whole layers"
    with pytest.raises(UserError, match=message):
        model_repository.write(vllm("listed"), EVALUATE, parts(folder), tmp_path / "triton")


def test_a_missing_list_of_the_engines_arguments_is_refused(
    parts_folder: Path, tmp_path: Path
) -> None:
    model_repository.write(vllm("merged"), EVALUATE, parts(parts_folder), tmp_path / "triton")
    (tmp_path / "triton/generator/3/model.json").unlink()
    with pytest.raises(UserError, match="generator/3: is incomplete: model.json missing"):
        model_repository.check(tmp_path / "triton")


VLLM_WITH_LORA = {
    "repository": "/models",
    "lora": "listed",
    "gpu_memory_utilization": 0.8,
    "tensor_parallel_size": 1,
}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backend": "vllm", "quantisation": "int8"}, "quantisation: int8 is for backend python"),
        ({"vllm": VLLM_WITH_LORA}, "vllm.lora: listed is for backend vllm"),
        ({"backend": "tensorrtllm"}, "Input should be 'python' or 'vllm'"),
        ({"quantisation": "int2"}, "Input should be 'none', 'int8' or 'int4'"),
    ],
)
def test_what_a_backend_does_not_have_is_refused_with_its_reason(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ExportConfig.model_validate({**CONFIG.model_dump(), **values})
