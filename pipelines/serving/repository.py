"""Writes the Triton model repository of a candidate, and checks what was written as far as that goes without a server."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from pipelines import comparison, files, generation, quantisation, rendering, unitvectors
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig
from pipelines.contracts import traffic
from pipelines.contracts.receipt import Receipt
from pipelines.errors import UserError
from pipelines.prompts import FILE as PROMPT_FILE
from pipelines.prompts import Prompt
from pipelines.serving import configs
from pipelines.serving.configs import ASSISTANT, EMBEDDER, GENERATOR, MODELS

INSIDE = Path(__file__).with_name("inside")
SETTINGS, ENGINE = "settings.json", "model.json"  # ENGINE: vLLM's arguments
ADAPTER = "candidate"  # the adapter's name in vLLM's list
NEIGHBOURS = {name: INSIDE / name for name in ("engines.py", "exchange.py", "guard.py", "peer.py", "search.py", "trafficlog.py")}
OURS = {f"{module.__name__.rsplit('.', 1)[-1]}.py": Path(str(module.__file__)) for module in (comparison, generation, quantisation, rendering, traffic, unitvectors)}
CODE: dict[str, dict[str, Path]] = {
    EMBEDDER: {"model.py": INSIDE / "embedder.py", "unitvectors.py": OURS["unitvectors.py"]},
    GENERATOR: {"model.py": INSIDE / "generator.py", "exchange.py": INSIDE / "exchange.py", **{name: OURS[name] for name in ("generation.py", "quantisation.py")}},
    ASSISTANT: {"model.py": INSIDE / "assistant.py", **NEIGHBOURS, **{name: OURS[name] for name in ("comparison.py", "rendering.py", "traffic.py")}},
}
WEIGHTS = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
NEEDED = {EMBEDDER: ("encoder/modules.json",), GENERATOR: (PROMPT_FILE, *(f"weights/{name}" for name in WEIGHTS)), ASSISTANT: ()}


class Parts(NamedTuple):
    """What a repository is made of."""

    base: Path
    adapter: Path
    encoder: Path  # folder of the encoder's files
    receipt: Receipt
    prompt: Prompt
    refusals: list[str]


def write(config: ExportConfig, evaluate: EvaluateConfig, parts: Parts, target: Path) -> Path:
    """All three models into `target`, but for the release id (see `name`); returns the folder of the merged weights."""
    if files.digest(parts.encoder) != parts.receipt.encoder.digest:
        raise UserError(f"the encoder in {parts.encoder} is not the one that the index was made with: `dvc repro index`")
    folders = {model: target / model / str(config.version) for model in MODELS}
    for model, folder in folders.items():
        folder.mkdir(parents=True)
        for name, source in CODE[model].items() if (model, config.backend) != (GENERATOR, "vllm") else ():
            shutil.copy(source, folder / name)
    shutil.copytree(parts.encoder, folders[EMBEDDER] / "encoder")
    weights = _write_weights(parts, folders[GENERATOR], merged=config.vllm.lora == "merged")
    files.write_json(folders[EMBEDDER] / SETTINGS, {"precision": parts.receipt.encoder.precision})
    limits = {"max_new_tokens": config.max_new_tokens, "max_prompt_tokens": config.max_prompt_tokens}
    files.write_json(folders[GENERATOR] / SETTINGS, {**limits, "precision": evaluate.precision, "quantisation": config.quantisation})
    if config.backend == "vllm":
        _write_vllm(config, evaluate, parts, folders[GENERATOR])
    files.write_json(folders[ASSISTANT] / SETTINGS, _settings(config, evaluate, parts))
    texts = {EMBEDDER: configs.embedder(config, parts.receipt.dimensions), GENERATOR: configs.generator(config), ASSISTANT: configs.assistant(config.version)}
    for model, text in texts.items():
        (target / model / "config.pbtxt").write_text(text)
    for model, question in ((EMBEDDER, "How do I begin?"), (GENERATOR, parts.prompt.render("How do I begin?", [])))[: 1 if config.backend == "vllm" else 2]:
        (target / model / "warmup").mkdir()
        (target / model / "warmup" / configs.WARM_UP).write_bytes(configs.warm_up_data(question))
    return weights


def name(target: Path, version: int, release_id: str) -> None:
    """Let the assistant say which release it is; the id is the digest of all the rest, so it comes last."""
    path = target / ASSISTANT / str(version) / SETTINGS
    files.write_json(path, {**json.loads(path.read_text()), "release_id": release_id})


def _write_weights(parts: Parts, folder: Path, *, merged: bool) -> Path:
    loaded = generation.load(parts.base, parts.adapter if merged else None)
    loaded.model.cpu().save_pretrained(folder / "weights", max_shard_size="1TB")
    loaded.tokenizer.save_pretrained(folder / "weights")
    shutil.copy(parts.adapter / PROMPT_FILE, folder / PROMPT_FILE)
    return folder / "weights"


def _write_vllm(config: ExportConfig, evaluate: EvaluateConfig, parts: Parts, folder: Path) -> None:
    """The engine's arguments, and the list of adapters where they are listed. Paths are as NVIDIA's container sees the repository."""
    seen = f"{config.vllm.repository.rstrip('/')}/{GENERATOR}/{config.version}"
    engine: dict[str, Any] = {
        "model": f"{seen}/weights", "dtype": "float32" if evaluate.precision == "fp32" else "auto", "max_model_len": config.max_prompt_tokens + config.max_new_tokens, "max_num_seqs": config.max_batch_size,
        "gpu_memory_utilization": config.vllm.gpu_memory_utilization, "tensor_parallel_size": config.vllm.tensor_parallel_size,
    }  # fmt: skip
    if config.vllm.lora == "listed":
        path = parts.adapter / "adapter_config.json"
        adapter = json.loads(path.read_text()) if path.exists() else {}
        if adapter.get("peft_type") != "LORA" or adapter.get("modules_to_save"):
            raise UserError(
                f"params.yaml: export.vllm.lora: listed needs a LoRA adapter that trains no whole layers, and {parts.adapter} is another: set merged, or finetune.method lora with train_embeddings false"
            )
        (folder / "loras" / ADAPTER).mkdir(parents=True)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(parts.adapter / name, folder / "loras" / ADAPTER / name)
        files.write_json(folder / "multi_lora.json", {ADAPTER: f"{seen}/loras/{ADAPTER}"})
        engine |= {"enable_lora": True, "max_lora_rank": adapter["r"], "max_loras": 1}
    files.write_json(folder / ENGINE, engine)


def _settings(config: ExportConfig, evaluate: EvaluateConfig, parts: Parts) -> dict[str, Any]:
    """What the assistant goes by: the retrieval that evaluate measured, the limits, the template."""
    return {
        "collection": parts.receipt.collection, "top_k": evaluate.top_k, "num_passages": evaluate.num_passages, "hybrid_alpha": parts.receipt.hybrid_alpha, "grounded_similarity": evaluate.grounded_similarity,
        "max_new_tokens": config.max_new_tokens, "max_question_characters": config.max_question_characters, "timeout_seconds": config.timeout_seconds,
        "search_timeout_seconds": config.search_timeout_seconds, "max_requests_at_once": config.max_requests_at_once, "max_texts": config.max_texts,
        "backend": config.backend, "lora": ADAPTER if config.vllm.lora == "listed" else None, "prompt": parts.prompt.prompt, "passage": parts.prompt.passage, "refusals": parts.refusals,
    }  # fmt: skip


def check(target: Path) -> None:
    """Raise UserError with what is missing or wrong: configuration, version folders, code, whole weights, absolute paths."""
    missing = [model for model in MODELS if not (target / model).is_dir()]
    if missing:
        raise UserError(f"{target} holds no model {missing[0]}")
    for folder in (target / model for model in MODELS):
        config = _configuration(folder)
        for version in config.version_policy.specific.versions:
            _check_version(folder.name, folder / str(version), config.backend)


def _configuration(folder: Path) -> Any:
    from google.protobuf import text_format

    try:
        config = configs.read((folder / "config.pbtxt").read_text())
    except (OSError, text_format.ParseError) as error:
        raise UserError(f"{folder / 'config.pbtxt'}: is no Triton model configuration: {error}") from error
    if config.name != folder.name:
        raise UserError(f"{folder / 'config.pbtxt'}: name: {config.name!r} is not the folder's name")
    if not config.version_policy.specific.versions:
        raise UserError(f"{folder / 'config.pbtxt'}: version_policy: names no version that is to be served")
    return config


def _check_version(model: str, folder: Path, backend: str) -> None:
    code = (ENGINE,) if backend == "vllm" else (*CODE[model],)
    missing = [name for name in (*code, SETTINGS, *NEEDED[model]) if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder}: is incomplete: {', '.join(missing)} missing")
    if model == GENERATOR:
        _check_weights(folder / "weights/model.safetensors")
    for file in folder.rglob("*.json"):
        if str(Path.cwd()) in file.read_text(encoding="utf-8"):
            raise UserError(f"{file}: holds a path of this machine")


def _check_weights(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as opened:
            names = list(opened.keys())
            bad = [name for name in names if not bool(opened.get_tensor(name).isfinite().all())]
    except SafetensorError as error:
        raise UserError(f"{file}: is damaged: {error}") from error
    if not names:
        raise UserError(f"{file}: holds no tensors")
    if bad:
        raise UserError(f"{file}: NaN or infinity in {', '.join(bad[:3])}")
