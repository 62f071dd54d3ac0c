"""What the stage hands to the ranks, as one JSON file: settings and folders."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipelines.config.finetune import FinetuneConfig

FINISHED = "finished"  # written into a checkpoint after everything else


class Job(BaseModel):
    """One fine-tuning. `checkpoints` is named by the digest of everything that decides the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: FinetuneConfig
    base: Path  # model folder
    examples: Path  # Arrow data set with `prompt` and `completion`
    checkpoints: Path  # kept until the adapter is proven
    lock: Path  # the stage holds it as long as it lives
    result: Path  # where rank 0 saves adapter and history.json
