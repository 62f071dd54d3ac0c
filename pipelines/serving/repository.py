"""Writes the Triton model repository of a merged model, and checks what was written as far as that goes without a server."""

import shutil
from pathlib import Path
from typing import Any

from pipelines import generation
from pipelines.config.export import ExportConfig
from pipelines.errors import UserError
from pipelines.prompts import FILE as PROMPT_FILE

MODEL = "generator"
CODE = {"model.py": Path(__file__).with_name("model.py"), "generation.py": Path(generation.__file__)}
WEIGHTS = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def write(config: ExportConfig, base: Path, adapter: Path, target: Path) -> Path:
    """Merge base and adapter into `target`/generator; returns the folder of the merged weights."""
    version = target / MODEL / str(config.version)
    version.mkdir(parents=True)
    merged = generation.load(base, adapter)
    merged.model.cpu().save_pretrained(version / "weights", max_shard_size="1TB")
    merged.tokenizer.save_pretrained(version / "weights")
    for name, source in CODE.items():
        shutil.copy(source, version / name)
    shutil.copy(adapter / PROMPT_FILE, version / PROMPT_FILE)
    (target / MODEL / "config.pbtxt").write_text(model_config(config))
    return version / "weights"


def model_config(config: ExportConfig) -> str:
    """config.pbtxt as text: dynamic batching, instances on whatever device there is, one warm-up request, this version alone."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as triton

    made = triton.ModelConfig(name=MODEL, backend=config.backend, max_batch_size=config.max_batch_size)
    made.input.add(name="prompt", data_type=triton.TYPE_STRING, dims=[1])
    made.output.add(name="answer", data_type=triton.TYPE_STRING, dims=[1])
    made.output.add(name="num_prompt_tokens", data_type=triton.TYPE_INT32, dims=[1])
    made.output.add(name="num_new_tokens", data_type=triton.TYPE_INT32, dims=[1])
    made.dynamic_batching.max_queue_delay_microseconds = config.max_queue_delay_microseconds
    made.instance_group.add(count=config.num_instances, kind=triton.ModelInstanceGroup.KIND_AUTO)
    made.version_policy.specific.versions.append(config.version)
    made.parameters["max_new_tokens"].string_value = str(config.max_new_tokens)
    warm = made.model_warmup.add(name="one question", batch_size=1, count=1)
    warm.inputs["prompt"].data_type = triton.TYPE_STRING
    warm.inputs["prompt"].dims.append(1)
    warm.inputs["prompt"].zero_data = True
    text: str = text_format.MessageToString(made)
    return text


def check(target: Path) -> None:
    """Raise UserError with what is missing or wrong: configuration, version folders, code, whole weights, absolute paths."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as triton

    for folder in sorted(path for path in target.iterdir() if path.is_dir()):
        try:
            config: Any = text_format.Parse((folder / "config.pbtxt").read_text(), triton.ModelConfig())
        except (OSError, text_format.ParseError) as error:
            raise UserError(f"{folder / 'config.pbtxt'}: is no Triton model configuration: {error}") from error
        if config.name != folder.name:
            raise UserError(f"{folder / 'config.pbtxt'}: name: {config.name!r} is not the folder's name")
        if not config.version_policy.specific.versions:
            raise UserError(f"{folder / 'config.pbtxt'}: version_policy: names no version that is to be served")
        for version in config.version_policy.specific.versions:
            _check_version(folder / str(version))
    if not (target / MODEL).is_dir():
        raise UserError(f"{target} holds no model {MODEL}")


def _check_version(folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    missing = [name for name in (*CODE, PROMPT_FILE, *(f"weights/{name}" for name in WEIGHTS)) if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder}: is incomplete: {', '.join(missing)} missing")
    try:
        with safe_open(str(folder / "weights/model.safetensors"), framework="pt") as opened:
            names = list(opened.keys())
            bad = [name for name in names if not bool(opened.get_tensor(name).isfinite().all())]
    except SafetensorError as error:
        raise UserError(f"{folder}/weights/model.safetensors: is damaged: {error}") from error
    if not names:
        raise UserError(f"{folder}/weights/model.safetensors: holds no tensors")
    if bad:
        raise UserError(f"{folder}/weights/model.safetensors: NaN or infinity in {', '.join(bad[:3])}")
    for file in folder.rglob("*.json"):
        if str(Path.cwd()) in file.read_text(encoding="utf-8"):
            raise UserError(f"{file}: holds a path of this machine")
