"""Writes the Triton model repository of a candidate, and checks it without a server."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipelines import files
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig
from pipelines.contracts.guard import Guard
from pipelines.contracts.receipt import Receipt
from pipelines.errors import UserError
from pipelines.questions import prompts
from pipelines.questions.prompts import FILE as PROMPT_FILE
from pipelines.questions.prompts import Prompt
from pipelines.runtime import FOLDER as RUNTIME
from pipelines.runtime import (
    generation,
    injection,
    openvino_encoder,
    openvino_engine,
    prompt_tokens,
    rendering,
    transformers_engine,
)
from pipelines.runtime.withholding import Limits
from pipelines.serving import model_code, model_configs
from pipelines.serving.model_code import ENGINE, MODEL_CODE
from pipelines.serving.model_configs import ASSISTANT, EMBEDDER, GENERATOR, MODELS
from pipelines.training import answer_engine, graph_conversion, openvino_graph
from pipelines.training.answer_engine import Engine
from pipelines.vectorstore import engine_files

SETTINGS = "settings.json"
ADAPTER = "candidate"  # the adapter's name in vLLM's list
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
WARM_UP_QUESTION = "How do I begin?"
REQUIRED_FILES: dict[str, tuple[str, ...]] = {
    EMBEDDER: (),
    GENERATOR: (
        PROMPT_FILE,
        "weights/config.json",
        "weights/tokenizer.json",
        "weights/tokenizer_config.json",
    ),
    ASSISTANT: (injection.FILE,),
}
MAX_NAMES = 3  # in a message


class Parts(NamedTuple):
    """What a repository is made of."""

    base: Path
    adapter: Path
    encoder: Path  # folder of the encoder's files
    receipt: Receipt
    prompt: Prompt
    refusals: list[str]
    engine: Engine
    limits: Limits | None  # of what is withheld
    guard: Guard


def write(config: ExportConfig, evaluate: EvaluateConfig, parts: Parts, target: Path) -> Path:
    """Write all three models into `target`, save for the release id (see `name`).

    Returns the folder of the language model's weights.
    """
    if files.digest(parts.encoder) != parts.receipt.encoder.digest:
        raise UserError(
            f"the encoder in {parts.encoder} is not the one that the index was made with: "
            "`dvc repro index`"
        )
    if parts.guard.encoder_digest != parts.receipt.encoder.digest:
        raise UserError(
            f"the guard was trained on vectors of another encoder ({parts.guard.encoder}) than the "
            f"index holds ({parts.receipt.encoder.model}): `dvc repro guard`"
        )
    version = str(config.version)
    model_code.write(config, parts.receipt.dimensions, target)
    _write_embedder(parts, target / EMBEDDER / version)
    weights = _write_generator(config, evaluate, parts, target / GENERATOR / version)
    settings = _settings(config, evaluate, parts)
    files.write_json(target / ASSISTANT / version / SETTINGS, settings)
    files.write_json(target / ASSISTANT / version / injection.FILE, parts.guard)
    return weights


def name(target: Path, version: int, release_id: str) -> None:
    """Let the assistant say which release it is.

    The id is a digest of all the rest, so it comes last.
    """
    path = target / ASSISTANT / str(version) / SETTINGS
    files.write_json(path, {**json.loads(path.read_text()), "release_id": release_id})


def _write_embedder(parts: Parts, folder: Path) -> None:
    encoder = parts.receipt.encoder
    shutil.copytree(
        engine_files(parts.encoder, encoder.engine),
        folder / "encoder",
        ignore=model_code.ignore_importable,
    )
    settings = {"engine": encoder.engine, "precision": encoder.precision}
    files.write_json(folder / SETTINGS, settings)
    _write_warm_up(folder.parent, WARM_UP_QUESTION)


def _write_generator(
    config: ExportConfig, evaluate: EvaluateConfig, parts: Parts, folder: Path
) -> Path:
    if config.backend == "vllm":
        _write_vllm(config, evaluate, parts, folder)
    else:
        warm_up = parts.prompt.render(WARM_UP_QUESTION, [])
        _write_warm_up(folder.parent, rendering.pack(warm_up))
    settings = {
        "max_new_tokens": config.max_new_tokens,
        "max_prompt_tokens": config.max_prompt_tokens,
        "precision": evaluate.precision,
        "quantisation": config.quantisation,
        "engine": parts.engine,
        "takes_messages": parts.prompt.messages is not None,
    }
    files.write_json(folder / SETTINGS, settings)
    adapter = parts.adapter if config.vllm.lora == "merged" else None
    shutil.copy(parts.adapter / PROMPT_FILE, folder / PROMPT_FILE)
    weights = folder / "weights"
    if config.backend == "python" and parts.engine == "openvino":
        answer_engine.write(parts.base, adapter, weights)
    else:
        _write_weights(parts.base, adapter, weights)
    return weights


def _write_warm_up(model: Path, text: str) -> None:
    (model / "warmup").mkdir()
    (model / "warmup" / model_configs.WARM_UP).write_bytes(model_configs.warm_up_data(text))


def _write_weights(base: Path, adapter: Path | None, target: Path) -> None:
    generator = transformers_engine.load(base, adapter)
    generator.model.cpu().save_pretrained(target, max_shard_size="1TB")
    generator.tokenizer.save_pretrained(target)


def _write_vllm(config: ExportConfig, evaluate: EvaluateConfig, parts: Parts, folder: Path) -> None:
    """Write the engine's arguments, and the list of adapters if they are listed.

    Paths are those by which NVIDIA's container sees the repository.
    """
    served_folder = f"{config.vllm.repository.rstrip('/')}/{GENERATOR}/{config.version}"
    engine: dict[str, Any] = {
        "model": f"{served_folder}/weights",
        "dtype": "float32" if evaluate.precision == "fp32" else "auto",
        "max_model_len": config.max_prompt_tokens + config.max_new_tokens,
        "max_num_seqs": config.max_batch_size,
        "gpu_memory_utilization": config.vllm.gpu_memory_utilization,
        "tensor_parallel_size": config.vllm.tensor_parallel_size,
    }
    if config.vllm.lora == "listed":
        rank = _write_adapter(parts.adapter, folder / "loras" / ADAPTER)
        files.write_json(folder / "multi_lora.json", {ADAPTER: f"{served_folder}/loras/{ADAPTER}"})
        engine |= {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1}
    files.write_json(folder / ENGINE, engine)


def _write_adapter(adapter: Path, target: Path) -> int:
    """Copy an adapter that vLLM can list; returns its rank."""
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    if config.get("peft_type") != "LORA" or config.get("modules_to_save"):
        raise UserError(
            "params.yaml: export.vllm.lora: listed needs a LoRA adapter that trains no whole "
            f"layers, and {adapter} is not one: set merged, or finetune.method lora with "
            "train_embeddings false"
        )
    target.mkdir(parents=True)
    for file in ADAPTER_FILES:
        shutil.copy(adapter / file, target / file)
    return int(config["r"])


def _settings(config: ExportConfig, evaluate: EvaluateConfig, parts: Parts) -> dict[str, Any]:
    """What the assistant goes by: the retrieval that evaluate measured, limits, the template."""
    settings: dict[str, Any] = {
        "collection": parts.receipt.collection,
        "top_k": evaluate.top_k,
        "num_passages": evaluate.num_passages,
        "max_readings": evaluate.max_readings,
        "hybrid_alpha": parts.receipt.hybrid_alpha,
        "rerank_weight": parts.receipt.rerank_weight,
        "grounded_similarity": evaluate.grounded_similarity,
        "max_new_tokens": config.max_new_tokens,
        "max_question_characters": config.max_question_characters,
        "timeout_seconds": config.timeout_seconds,
        "search_timeout_seconds": config.search_timeout_seconds,
        "max_requests_at_once": config.max_requests_at_once,
        "max_texts": config.max_texts,
        "backend": config.backend,
        "lora": ADAPTER if config.vllm.lora == "listed" else None,
        "prompt": parts.prompt.form,
        "control_tokens": [],
        "passage": parts.prompt.passage,
        "refusals": parts.refusals,
        "withholding": parts.limits._asdict() if parts.limits else None,
    }
    if config.backend == "vllm":
        settings |= _text_settings(parts)
    return settings


def _text_settings(parts: Parts) -> dict[str, Any]:
    """The prompt for vLLM, which takes a text: messages as the chat template writes them.

    It would read control tokens anywhere in the text, so the assistant disarms those that questions
    and passages spell.
    """
    tokenizer = generation.tokenizer_of(parts.base)
    settings: dict[str, Any] = {"control_tokens": prompt_tokens.control_tokens(tokenizer)}
    if parts.prompt.messages is not None:
        text = prompts.chat_form(Path(PROMPT_FILE), parts.prompt, tokenizer)
        # vLLM begins each text as the tokenizer does.
        begins = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
        settings["prompt"] = text.removeprefix(tokenizer.bos_token) if begins else text
    return settings


def check(target: Path) -> None:
    """Raise UserError with what is missing or wrong.

    That is: configurations, version folders, code, whole weights, absolute paths.
    """
    for model in MODELS:
        if not (target / model).is_dir():
            raise UserError(f"{target} holds no model {model}")
    for model in MODELS:
        config = _read_configuration(target / model)
        for version in config.version_policy.specific.versions:
            _check_version(model, target / model / str(version), config.backend)


def _read_configuration(folder: Path) -> Any:
    from google.protobuf import text_format

    path = folder / model_configs.FILE
    try:
        config = model_configs.read(path.read_text())
    except (OSError, text_format.ParseError) as error:
        raise UserError(f"{path}: is not a valid Triton model configuration: {error}") from error
    if config.name != folder.name:
        raise UserError(f"{path}: name: {config.name!r} is not the folder's name")
    if not config.version_policy.specific.versions:
        raise UserError(f"{path}: version_policy: names no version that is to be served")
    return config


def _check_version(model: str, folder: Path, backend: str) -> None:
    names = [*_code_files(backend), SETTINGS, *REQUIRED_FILES[model]]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        first_names = ", ".join(missing[:MAX_NAMES])
        more = f" and {len(missing) - MAX_NAMES} more" if len(missing) > MAX_NAMES else ""
        raise UserError(f"{folder}: is incomplete: {first_names}{more} missing")
    if model == GENERATOR:
        _check_weights(folder / "weights")
    if model == EMBEDDER:
        _check_encoder(folder / "encoder")
    for file in folder.rglob("*.json"):
        if str(Path.cwd()) in file.read_text(encoding="utf-8"):
            raise UserError(f"{file}: holds a path of this machine")


def _code_files(backend: str) -> Iterator[str]:
    """The files of a model's code, as paths inside its version folder."""
    if backend == "vllm":
        yield ENGINE
        return
    yield MODEL_CODE
    for path in sorted(RUNTIME.glob("*.py")):
        yield f"{RUNTIME.name}/{path.name}"


def _check_encoder(folder: Path) -> None:
    engine_file = {"openvino": openvino_encoder.GRAPH, "torch": "modules.json"}
    engine = json.loads((folder.parent / SETTINGS).read_text())["engine"]
    if not (folder / engine_file[engine]).is_file():
        raise UserError(f"{folder}: is incomplete: {engine_file[engine]} missing")


def _check_weights(folder: Path) -> None:
    if openvino_engine.holds_graph(folder):
        _demand_finite(folder / graph_conversion.BIN, openvino_graph.read(folder))
        return
    file = folder / "model.safetensors"
    if not file.is_file():
        raise UserError(f"{folder}: is incomplete: {file.name} or {openvino_engine.GRAPH} missing")
    _demand_finite(file, _read_safetensors(file))


def _read_safetensors(file: Path) -> Iterator[tuple[str, Any]]:
    """Name and tensor of each weight."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (it is no dictionary)
                yield name, weights.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: is damaged: {error}") from error


def _demand_finite(file: Path, weights: Iterator[tuple[str, Any]]) -> None:
    names: list[str] = []
    bad_names: list[str] = []
    for name, tensor in weights:
        names.append(name)
        if not _is_finite(tensor):
            bad_names.append(name)
    if not names:
        raise UserError(f"{file}: holds no tensors")
    if bad_names:
        raise UserError(f"{file}: NaN or infinity in {', '.join(bad_names[:MAX_NAMES])}")


def _is_finite(tensor: Any) -> bool:
    return bool(tensor.isfinite().all())
