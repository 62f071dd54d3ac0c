"""What the stage hands to the ranks, as one JSON file: settings and folders."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipelines.config.finetune import FinetuneConfig

FINISH_MARK = "finished"  # file that is written into a checkpoint after all others
HISTORY_FILE = "history.json"  # losses by step, written by rank 0 beside the adapter


class Job(BaseModel):
    """One fine-tuning. All paths are absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: FinetuneConfig
    base: Path  # model folder
    examples: Path  # Arrow data set with `prompt` and `completion`
    checkpoints: Path  # folder that stays until the adapter is proven
    lock: Path  # file whose lock the stage holds as long as it lives
