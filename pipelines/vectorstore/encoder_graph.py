"""Writes a sentence-transformers model as an OpenVINO graph, for runtime/openvino_encoder.py.

It is converted once for each model and kept in `.state` (about 15 s), so that nothing else needs
torch to turn texts into vectors.
"""

import json
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.files import digest
from pipelines.runtime.openvino_encoder import FACTS, GRAPH, INPUTS, TOKENIZER
from pipelines.system import cache, paths

LIBRARIES = ("openvino", "sentence-transformers", "torch", "transformers")
# Of different lengths, so that the graph takes any number of texts and tokens, and a mask.
EXAMPLES = ["one", "a text that is a little longer"]
MAX_TOKENS = 512  # of a text, if the model does not say


def locate(folder: Path) -> Path:
    """The folder of a model's graph, which is converted if it is not there yet.

    Raises UserError if OpenVINO does not take the model.
    """
    kind = cache.kind_of("encoder", [Path(__file__)], digest(folder), LIBRARIES)
    remark = "writing the encoder's OpenVINO graph, once for this model"
    return cache.ensure_folder(graphs_folder() / kind, remark, partial(_convert, folder))


def graphs_folder() -> Path:
    """Where graphs are kept."""
    return paths.state_folder() / "openvino_graphs"


def _convert(folder: Path, target: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = SentenceTransformer(str(folder), local_files_only=True).eval()
    inputs = model.preprocess(EXAMPLES)
    features = {name: values for name, values in inputs.items() if _is_tensor(values)}
    _demand_words(folder, model(dict(features)))
    _demand_known_inputs(folder, features)
    target.mkdir(parents=True, exist_ok=True)
    _write_graph(model, features, target / GRAPH)
    shutil.copyfile(folder / TOKENIZER, target / TOKENIZER)
    facts = {
        "inputs": list(features),
        "padding": int(model.tokenizer.pad_token_id or 0),
        "special_tokens": sorted(model.tokenizer.all_special_ids),
        "dimensions": int(model.get_embedding_dimension() or 0),
        "max_tokens": int(model.max_seq_length or MAX_TOKENS),
    }
    (target / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


def _demand_known_inputs(folder: Path, features: dict[str, Any]) -> None:
    """Raise UserError if a model reads something else than tokens and their mask."""
    unknown = sorted(features.keys() - set(INPUTS))
    if unknown:
        raise UserError(
            f"params.yaml: encoder.model: {folder} also reads {', '.join(unknown)}, which the "
            "engine openvino does not give it: set embed.engine to torch, or choose another encoder"
        )


def _demand_words(folder: Path, outputs: dict[str, Any]) -> None:
    """Raise UserError if a model's outputs hold no vectors of tokens in their context."""
    if "token_embeddings" not in outputs:
        raise UserError(
            f"params.yaml: encoder.model: {folder} gives a text one vector and its tokens none, "
            "which the order of passages needs: choose another encoder.model"
        )


def _write_graph(model: Any, features: dict[str, Any], file: Path) -> None:
    import openvino
    import torch

    class Outputs(torch.nn.Module):  # type: ignore[misc]  # torch has no types
        """The two outputs of a model, by the names of its inputs."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> Any:
            outputs = self.model(dict(zip(features, values, strict=True)))
            return outputs["sentence_embedding"], outputs["token_embeddings"]

    try:
        with warnings.catch_warnings(action="ignore"):
            graph = openvino.convert_model(Outputs(), example_input=tuple(features.values()))
        _number_operations(graph)
        openvino.save_model(graph, file, compress_to_fp16=False)
    except Exception as error:
        # Tracing raises whatever the model's own code raises.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"params.yaml: embed.engine: OpenVINO does not take the encoder: {reason}. "
            "Set embed.engine to torch, or choose another encoder.model"
        ) from error


def _number_operations(graph: Any) -> None:
    """Name each operation by its place: OpenVINO counts over all graphs of a process.

    Thus the same model gives the same file.
    """
    graph.set_friendly_name("encoder")
    for number, operation in enumerate(graph.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}_{number}")


def _is_tensor(values: Any) -> bool:
    return hasattr(values, "to")
