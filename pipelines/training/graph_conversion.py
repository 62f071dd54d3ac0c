"""Writes the OpenVINO graph of an architecture; a program of the environment .venv-openvino.

    python graph_conversion.py CONFIGURATION TARGET

CONFIGURATION is a folder with the config.json of a model of transformers. The graph gets random
weights. By these, layout.json says where in openvino_model.bin each parameter of the model lies,
so that the weights of any model of this configuration can be written there. This program imports
nothing of ours: its transformers is an older one.
"""

import json
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

XML, BIN, LAYOUT = "openvino_model.xml", "openvino_model.bin", "layout.json"
TYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}  # OpenVINO's name -> torch's


def main() -> None:
    configuration, target = map(Path, sys.argv[1:])
    model = random_model(configuration)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        convert(Path(folder), target)
    layout = find_parameters(model, target)
    (target / LAYOUT).write_text(json.dumps(layout, indent=1) + "\n")


def random_model(configuration: Path) -> Any:
    """A model of which no two parameters are equal."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(configuration), local_files_only=True)
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config, dtype=config.dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model.eval()


def convert(folder: Path, target: Path) -> None:
    """Write the graph of the model in `folder`."""
    from optimum.intel import OVModelForCausalLM

    graph = OVModelForCausalLM.from_pretrained(
        str(folder), export=True, compile=False, load_in_8bit=False, local_files_only=True
    )
    graph.save_pretrained(str(target))


def find_parameters(model: Any, target: Path) -> dict[str, dict[str, Any]]:
    """Type, offset and size of each parameter in openvino_model.bin.

    Raises LookupError if the conversion has changed a parameter, so that it is not there.
    """
    constants = read_constants(target)
    layout: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        key = next((key for key in keys_of(parameter) if key in constants), None)
        if key is None:
            raise LookupError(f"the graph does not hold the parameter {name} as it is")
        layout[name] = {"type": TYPES[key[0]], **constants[key]}
    return layout


def read_constants(target: Path) -> dict[tuple[str, bytes], dict[str, int]]:
    """Type and content of each constant -> its offset and size in openvino_model.bin."""
    content = memoryview((target / BIN).read_bytes())
    constants: dict[tuple[str, bytes], dict[str, int]] = {}
    tree = xml.etree.ElementTree.parse(target / XML)  # noqa: S314 (written by the line above)
    for data in tree.iterfind(".//layer[@type='Const']/data"):
        offset = int(data.attrib["offset"])
        size = int(data.attrib["size"])
        key = data.attrib["element_type"], digest(content[offset : offset + size])
        constants[key] = {"offset": offset, "size": size}
    return constants


def keys_of(parameter: Any) -> list[tuple[str, bytes]]:
    """How a parameter may be written in the graph: its type, its content."""
    import torch

    keys: list[tuple[str, bytes]] = []
    for short, name in TYPES.items():
        values = parameter.detach().to(getattr(torch, name)).contiguous()
        keys.append((short, digest(values.reshape(-1).view(torch.uint8).numpy().tobytes())))
    return keys


def digest(content: bytes | memoryview) -> bytes:
    import hashlib

    return hashlib.sha256(content).digest()


if __name__ == "__main__":
    main()
