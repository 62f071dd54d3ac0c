"""Writes a model of transformers for the engine `openvino`.

The graph of a configuration is converted once, in the environment .venv-openvino, and kept in
`.state` (about 20 s). The weights of a model are then written into a copy of it (under 1 s), so
that a candidate needs no conversion, and its weights are those of transformers to the bit.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.runtime.openvino_engine import GRAPH
from pipelines.system import cache, paths
from pipelines.training import graph_conversion
from pipelines.training.graph_conversion import BIN, LAYOUT

PYTHON = Path(sys.prefix).parent / ".venv-openvino/bin/python"
# Of the configuration, what no graph depends on.
IRRELEVANT_KEYS = ("transformers_version", "_name_or_path")
OTHER_ENGINE = "set generation.engine to transformers in params.yaml"
LIBRARIES = ("openvino", "openvino-genai")


def write(model: Any, tokenizer: Any, target: Path) -> None:
    """Write a loaded model and its tokenizer as a folder that the engine can load.

    Raises UserError if OpenVINO has no graph for it, or if a weight is not finite.
    """
    graph = _graph(model.config)
    target.mkdir(parents=True, exist_ok=True)
    for name in (GRAPH, BIN, LAYOUT):
        shutil.copyfile(graph / name, target / name)
    layout = json.loads((graph / LAYOUT).read_text())
    _write_parameters(model, layout, target / BIN)
    model.config.save_pretrained(target)
    model.generation_config.save_pretrained(target)
    tokenizer.save_pretrained(target)


def read(folder: Path) -> Iterator[tuple[str, Any]]:
    """Name and tensor of each parameter. Raises UserError if the folder is damaged."""
    import torch

    layout = json.loads((folder / LAYOUT).read_text())
    content = np.memmap(folder / BIN, dtype=np.uint8, mode="r")
    for name, location in layout.items():
        end = location["offset"] + location["size"]
        if end > len(content):
            raise UserError(f"{folder / BIN}: is damaged: it ends before {name}")
        data = torch.from_numpy(np.array(content[location["offset"] : end]))
        yield name, data.view(getattr(torch, location["type"]))


def _write_parameters(model: Any, layout: dict[str, dict[str, Any]], file: Path) -> None:
    import torch

    parameters = dict(model.named_parameters())
    if parameters.keys() != layout.keys():
        names = ", ".join(sorted(parameters.keys() ^ layout.keys())[:3])
        raise UserError(
            f"the OpenVINO graph has other parameters than the model ({names}): {OTHER_ENGINE}"
        )
    content = np.memmap(file, dtype=np.uint8, mode="r+")
    for name, location in layout.items():
        tensor = parameters[name].detach().cpu().to(getattr(torch, location["type"]))
        data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        start = location["offset"]
        content[start : start + location["size"]] = data
    content.flush()


def _graph(config: Any) -> Path:
    """The folder of the configuration's graph, converted if it is not there yet."""
    values = config.to_dict()
    for key in IRRELEVANT_KEYS:
        values.pop(key, None)
    settings = json.dumps(values, sort_keys=True, default=str)
    kind = cache.kind_of("graph", [Path(graph_conversion.__file__)], settings, LIBRARIES)
    folder = paths.state_folder() / "openvino_graphs" / kind
    remark = "writing the model's OpenVINO graph, once for this configuration"
    return cache.ensure_folder(folder, remark, partial(_convert, config))


def _convert(config: Any, target: Path) -> None:
    if not PYTHON.exists():
        raise UserError(
            f"generation.engine: openvino needs {PYTHON}, which is not there: `make setup` makes "
            f"it; or {OTHER_ENGINE}"
        )
    target.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(target)
    process = subprocess.run(
        [str(PYTHON), graph_conversion.__file__, str(target), str(target)],
        capture_output=True,
        text=True,
    )
    if process.returncode:
        reason = process.stderr.strip().splitlines()[-1]
        raise UserError(
            f"generation.engine: openvino has no graph for {config.model_type}: {reason}\n"
            f"Choose another base model, or {OTHER_ENGINE}"
        )
