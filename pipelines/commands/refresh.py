"""Index new documents; if retrieval is good enough, the live release reads them. No training.

What `dvc repro index` does comes first, so that a changed document is all it takes.
"""

import argparse
import subprocess
import sys

from pipelines.config import params
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.gate import GateConfig
from pipelines.errors import UserError
from pipelines.serving import refreshing
from pipelines.system import dvc_lock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--as-indexed", action="store_true", help="take the index as it is: measure and switch"
    )


def run(as_indexed: bool) -> None:
    """Raises Refusal if a floor of `gate` for a retrieval metric is not reached."""
    if not as_indexed:
        _index()
    values = params.load()
    config = refreshing.Config(
        evaluate=values.section(EvaluateConfig), gate=values.section(GateConfig)
    )
    outcome = refreshing.refresh(config)
    if outcome.release_id is None:
        print("no release yet, so nothing answers from this index: `train` makes one")
    else:
        print(f"{outcome.release_id} now reads its knowledge in {outcome.collection}")


def _index() -> None:
    """Raises UserError if a stage fails; its own error is printed above."""
    dvc_lock.repair()
    process = subprocess.run([sys.executable, "-m", "dvc", "repro", "index"])
    if process.returncode:
        raise UserError(
            "the new documents are not indexed, for the reason above: the live release reads what "
            "it read before. The same command continues"
        )
