"""base: the model before fine-tuning, made on the documents, copied from a folder or downloaded."""

from dataclasses import dataclass
from pathlib import Path

from pipelines import files
from pipelines.config.base import BaseConfig
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.report import Report
from pipelines.training import base_model


@dataclass(frozen=True)
class Inputs:
    """The documents, and the report that they were validated."""

    documents: Path
    validation: Path


@dataclass(frozen=True)
class Outputs:
    """The model folder."""

    base: Path


def run(config: BaseConfig, inputs: Inputs, outputs: Outputs) -> None:
    """Write the model folder whole. Raises Refusal if the documents' validation did not pass."""
    files.read_json(inputs.validation, Report).demand(
        f"the validation of {inputs.documents}",
        "Fix the documents, or the bounds in params.yaml's `validate` section",
    )
    with files.replacing(outputs.base) as target:
        if config.source != "made":
            base_model.copy(config, target)
            print(f"base model: {config.source}")
            return
        texts = [row["text"] for row in files.read(inputs.documents, DOCUMENTS)]
        losses = base_model.make(texts, config.made, config.seed, target)
        print(f"loss {losses.start:.2f} -> {losses.end:.2f} nats a token")
