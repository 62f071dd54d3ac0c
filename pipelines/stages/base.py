"""base: the model before fine-tuning, made on the documents or brought from elsewhere; the same folder either way."""

from pathlib import Path

from pipelines import basemodel, files
from pipelines.config.base import BaseConfig
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.report import Report


def run(config: BaseConfig, documents: Path, validation: Path, base: Path) -> None:
    """Write the model folder whole. Raises Refusal where the documents' validation did not pass."""
    files.read_json(validation, Report).demand(f"the validation of {documents}", "Mend the documents, or the bounds in params.yaml's `validate` section")
    with files.replacing(base) as target:
        if config.source != "made":
            basemodel.copy(config, target)
            print(f"base model: {config.source}")
            return
        texts = [row["text"] for row in files.read(documents, DOCUMENTS)]
        losses = basemodel.make(texts, config.made, config.seed, target)
        print(f"loss {losses['loss_start']:.2f} -> {losses['loss_end']:.2f} nats a token")
