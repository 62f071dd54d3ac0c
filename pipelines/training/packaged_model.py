"""A language model that an installed Python package carries as a GGUF file.

The file is turned into a transformers folder once; the folder is kept in `.state` by the digest of
the file, of this code and of the libraries that turn it.
"""

import importlib.metadata
import importlib.util
from functools import cache as remember
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pipelines import files
from pipelines.errors import UserError
from pipelines.system import cache, paths
from pipelines.training import base_fitness

PREFIX = "package:"  # of base.source
LIBRARIES = ("gguf", "tokenizers", "torch", "transformers")


class PackagedModel(NamedTuple):
    """A GGUF file in an installed package."""

    package: str
    file: Path
    digest: str  # sha256 of the file

    @property
    def subject(self) -> str:
        """How errors name it."""
        return f"params.yaml: base.source: {self.file.name} of package {self.package}"


def find(package: str) -> PackagedModel:
    """The GGUF file of an installed package.

    Raises UserError if the package is not installed or does not carry exactly one.
    """
    key = f"params.yaml: base.source: package {package!r}"
    try:
        distribution = importlib.metadata.distribution(package)
    except (importlib.metadata.PackageNotFoundError, ValueError) as error:
        raise UserError(
            f"{key} is not installed here: `make setup` installs the group `models` of "
            "pyproject.toml; add the package there, then `make lock` and `make setup`"
        ) from error
    candidates = [file for file in distribution.files or [] if file.suffix.lower() == ".gguf"]
    if len(candidates) != 1:
        names = ", ".join(file.name for file in candidates) or "none"
        raise UserError(
            f"{key} must carry exactly one GGUF file ({names} in it): name a package with one, "
            "or a folder that holds a transformers model"
        )
    path = Path(str(distribution.locate_file(candidates[0])))
    if not path.is_file():
        raise UserError(f"{key}: {path} is missing: install it again with `make clean setup`")
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"{key} needs the package gguf, which is not installed: run `make setup`")
    return PackagedModel(package, path, files.digest(path))


def check(model: PackagedModel) -> None:
    """Raises UserError if the model is unfit, as its header says. Weights are not read."""
    folder = _folder_of(model)
    if folder.exists():
        base_fitness.demand(folder, model.subject)
    else:
        base_fitness.demand_fit(_read_config(model), model.subject)


def unpack(model: PackagedModel) -> Path:
    """The model as a transformers folder with safetensors in bf16, its tokenizer and its card.

    Raises UserError if it is unfit or of an architecture that cannot be turned.
    """
    folder = _folder_of(model)
    if not folder.exists():
        base_fitness.demand_fit(_read_config(model), model.subject)
    remark = f"unpacking {model.file.name} of package {model.package}, once"
    return cache.ensure_folder(folder, remark, partial(_convert, model))


def _folder_of(model: PackagedModel) -> Path:
    kind = cache.kind_of("gguf", [Path(__file__)], model.digest, LIBRARIES)
    return paths.state_folder() / "base_models" / kind


@remember
def _read_config(model: PackagedModel) -> Any:
    """The configuration that the header describes."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(model.file.parent), gguf_file=model.file.name)
    # The reader of the format and each architecture have errors of their own.
    except Exception as error:
        raise UserError(
            f"{model.subject} cannot be read by the installed transformers ({error}): "
            f"{base_fitness.ADVICE}"
        ) from error


def _convert(model: PackagedModel, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    location = {"pretrained_model_name_or_path": str(model.file.parent)}
    location["gguf_file"] = model.file.name
    tokenizer = AutoTokenizer.from_pretrained(**location)
    # Computed from blocks of small integers in 32 bits, and rounded once, at the end.
    network = AutoModelForCausalLM.from_pretrained(**location, dtype=torch.float32)
    _forget_quantisation(network)
    tokenizer.model_max_length = network.config.max_position_embeddings
    network.to(torch.bfloat16).save_pretrained(target, max_shard_size="1TB")
    tokenizer.save_pretrained(target)
    licence = _licence(model)
    if licence is not None:
        (target / "README.md").write_text(f"---\nlicense: {licence}\n---\n", encoding="utf-8")


def _forget_quantisation(network: Any) -> None:
    """The weights are plain numbers now, but transformers refuses to save them as such."""
    del network.config.quantization_config
    network.hf_quantizer = None
    network.is_quantized = False


def _licence(model: PackagedModel) -> str | None:
    """As the file says, or else the package, whose licence may be that of its code alone."""
    from gguf import GGUFReader

    field = GGUFReader(str(model.file)).get_field("general.license")
    if field is not None:
        return str(field.contents())
    metadata = importlib.metadata.metadata(model.package).json
    licence = metadata.get("license_expression") or metadata.get("license")
    return None if licence is None else str(licence)
