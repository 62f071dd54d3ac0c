"""Chooses what computes the answers, and loads a model into it."""

import importlib.util
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from pipelines.config.export import ExportConfig
from pipelines.config.generation import GenerationConfig
from pipelines.errors import UserError
from pipelines.runtime import openvino_engine, transformers_engine
from pipelines.runtime.generation import Generator, Precision
from pipelines.system.hardware import has_gpu
from pipelines.training import openvino_graph

Engine = Literal["openvino", "transformers"]
PACKAGE = "openvino_genai"


class Choice(NamedTuple):
    """The engine that is taken, and a line that says why."""

    engine: Engine
    reason: str


def choose(config: GenerationConfig) -> Choice:
    """The configured engine. Raises UserError if OpenVINO is demanded and is not installed."""
    if config.engine == "transformers":
        return _choice(config, "transformers", "as configured")
    problem = _openvino_problem()
    if config.engine == "openvino":
        if problem:
            raise UserError(
                f"params.yaml: generation.engine: openvino cannot be used: {problem}. Run `make "
                "setup`, or set auto or transformers"
            )
        return _choice(config, "openvino", "as configured")
    if has_gpu():
        return _choice(config, "transformers", "there is an NVIDIA GPU")
    if problem:
        return _choice(config, "transformers", problem)
    return _choice(config, "openvino", "there is no NVIDIA GPU")


def _choice(config: GenerationConfig, engine: Engine, reason: str) -> Choice:
    return Choice(engine, f"generation.engine: {config.engine}: {engine} answers ({reason})")


def quantisation_problems(choice: Choice, config: ExportConfig) -> list[str]:
    """Why the engine cannot serve the release in so few bits."""
    if config.quantisation == "none" or choice.engine == "transformers":
        return []
    return [
        f"params.yaml: export.quantisation: {config.quantisation} is for engine transformers, "
        f"whose weights torchao quantises, and {choice.reason}: set none, or generation.engine "
        "to transformers"
    ]


def _openvino_problem() -> str:
    if importlib.util.find_spec(PACKAGE) is None:
        return f"the package {PACKAGE} is not installed"
    if not openvino_graph.PYTHON.exists():
        return f"{openvino_graph.PYTHON} is missing"
    return ""


def load(
    engine: Engine, base: Path, adapter: Path | None, precision: Precision, batch_size: int
) -> Generator:
    """The base model with its adapter. A folder that was written for OpenVINO stays with it."""
    if openvino_engine.holds_graph(base):
        return openvino_engine.load(base, precision, batch_size)
    if engine == "transformers":
        return transformers_engine.load(base, adapter, precision)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(base, adapter, folder)
        return openvino_engine.load(folder, precision, batch_size)


def write(base: Path, adapter: Path | None, target: Path) -> None:
    """Write the base model with its adapter for OpenVINO."""
    generator = transformers_engine.load(base, adapter)
    openvino_graph.write(generator.model, generator.tokenizer, target)
