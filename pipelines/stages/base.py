"""base: the model before fine-tuning, out of a package, a folder or the hub, or made here."""

from dataclasses import dataclass
from pathlib import Path

from pipelines import files
from pipelines.config.base import BaseConfig
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.report import Report
from pipelines.runtime import readers
from pipelines.training import base_facts, base_model, base_sources
from pipelines.training.base_sources import FROM_SCRATCH, Origin


@dataclass(frozen=True)
class Inputs:
    """The documents, and the report that they were validated."""

    documents: Path
    validation: Path


@dataclass(frozen=True)
class Outputs:
    """The model folder, with its receipt."""

    base: Path


def run(config: BaseConfig, inputs: Inputs, outputs: Outputs) -> None:
    """Write the model folder whole.

    Raises Refusal if the documents' validation did not pass, UserError if the model is unfit.
    """
    files.read_json(inputs.validation, Report).demand(
        f"the validation of {inputs.documents}",
        "Fix the documents, or the bounds in params.yaml's `validate` section",
    )
    with files.replacing(outputs.base) as target:
        if config.source == "made":
            origin = _make(config, inputs.documents, target)
        else:
            origin = base_sources.copy(config, target)
        receipt = base_facts.write_receipt(target, origin)
    print(f"base model: {receipt.summary()}")


def _make(config: BaseConfig, documents: Path, target: Path) -> Origin:
    # What not everyone may read is left out: the model could repeat it to anybody.
    rows = files.read(documents, DOCUMENTS)
    texts = [row["text"] for row in rows if readers.is_public(row["readers"])]
    losses = base_model.make(texts, config.made, config.seed, target)
    print(f"loss {losses.start:.2f} -> {losses.end:.2f} nats a token")
    return FROM_SCRATCH
