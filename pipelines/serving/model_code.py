"""What a server runs of a model repository: each model's code and its config.pbtxt.

`write` exports them; `differences` compares an export with what this checkout would write. Whoever
may push results to Git and DVC can name any export, and Triton runs the code that lies in it.
"""

import importlib.machinery
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipelines.config.export import ExportConfig
from pipelines.decision import bill_of_materials, model_card
from pipelines.runtime import FOLDER as RUNTIME
from pipelines.serving import model_configs
from pipelines.serving.model_configs import ASSISTANT, EMBEDDER, GENERATOR, MODELS

ENGINE = "model.json"  # vLLM's arguments
MODEL_CODE = "model.py"  # what Triton's Python backend imports
# The arguments that the export gives to vLLM; others let it load code (`trust_remote_code`).
ENGINE_KEYS = {
    "model",
    "dtype",
    "max_model_len",
    "max_num_seqs",
    "gpu_memory_utilization",
    "tensor_parallel_size",
    "enable_lora",
    "max_lora_rank",
    "max_loras",
}
# A version folder is in Python's search path, so a file with such a name could be imported.
IMPORTABLE = tuple(importlib.machinery.all_suffixes())
# All that an export holds beside its code: files, and folders (`/`) of files that are only read.
PAPERS = ("release.json", bill_of_materials.FILE, model_card.FILE)
DATA = (
    *map(re.escape, PAPERS),
    rf"({EMBEDDER}|{GENERATOR})/warmup/{model_configs.WARM_UP}",
    r"\w+/VERSION/settings\.json",
    rf"{ASSISTANT}/VERSION/guard\.json",
    rf"{GENERATOR}/VERSION/(prompt\.yaml|{re.escape(ENGINE)}|multi_lora\.json)",
    rf"{EMBEDDER}/VERSION/encoder/.+",
    rf"{GENERATOR}/VERSION/(weights|loras)/.+",
)


def write(config: ExportConfig, dimensions: int, target: Path) -> None:
    """Write the folders of all three models with their code and configuration.

    `dimensions`: of the encoder's vectors.
    """
    texts = {
        EMBEDDER: model_configs.embedder(config, dimensions),
        GENERATOR: model_configs.generator(config),
        ASSISTANT: model_configs.assistant(config.version),
    }
    for model in MODELS:
        folder = target / model / str(config.version)
        folder.mkdir(parents=True)
        if model != GENERATOR or config.backend == "python":
            copy(model, folder)
        (target / model / model_configs.FILE).write_text(texts[model])


def copy(module: str, folder: Path) -> None:
    """Copy a model's code into a version folder: the runtime whole, and what Triton imports.

    `module` of pipelines/runtime holds the model's class.
    """
    without_bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(RUNTIME, folder / "runtime", ignore=without_bytecode, copy_function=shutil.copy)
    lines = (
        f'"""What Triton imports; the code is in runtime/{module}.py."""',
        "",
        f"from .runtime.{module} import TritonPythonModel",
        "",
        '__all__ = ["TritonPythonModel"]',
    )
    (folder / MODEL_CODE).write_text("\n".join(lines) + "\n")


def ignore_importable(_folder: str, names: Iterable[str]) -> list[str]:
    """For `shutil.copytree`: a model's files without those that Python could import."""
    return [name for name in names if name.endswith(IMPORTABLE) or name == "__pycache__"]


def remove_bytecode(repository: Path) -> None:
    """Triton's Python writes it whatever its environment says; DVC would see a changed export."""
    for folder in repository.rglob("__pycache__"):
        if not folder.is_symlink():
            shutil.rmtree(folder)


def differences(repository: Path, config: ExportConfig, dimensions: int) -> list[str]:
    """In what the code of an export is not what `write` writes here, a line for each file."""
    with tempfile.TemporaryDirectory() as name:
        write(config, dimensions, Path(name))
        code = _contents(Path(name))
    files = {path.relative_to(repository).as_posix(): path for path in _entries(repository)}
    lines = [f"{name}: missing" for name in (*code, *PAPERS) if name not in files]
    for file, path in files.items():
        if file in code:
            if not path.is_file() or path.read_bytes() != code[file]:
                lines.append(f"{file}: differs")
        elif not path.is_file() or not _is_data(file, config.version):
            lines.append(f"{file}: is in no export of this checkout")
        elif file == f"{GENERATOR}/{config.version}/{ENGINE}":
            lines += [f"{file}: {problem}" for problem in _engine_problems(path)]
    return sorted(lines)


def _contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each file, by its relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in _entries(folder)}


def _entries(folder: Path) -> Iterator[Path]:
    """Everything but folders, which a link to a folder is not."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path


def _is_data(file: str, version: int) -> bool:
    if file.endswith(IMPORTABLE):
        return False
    patterns = [pattern.replace("VERSION", str(version)) for pattern in DATA]
    return any(re.fullmatch(pattern, file) for pattern in patterns)


def _engine_problems(path: Path) -> Iterator[str]:
    try:
        arguments = json.loads(path.read_text(encoding="utf-8"))
        keys = set(arguments.keys())
    except (ValueError, AttributeError):
        yield "is not a JSON object"
        return
    for key in sorted(keys - ENGINE_KEYS):
        yield f"{key} is no argument that this checkout gives to vLLM"
