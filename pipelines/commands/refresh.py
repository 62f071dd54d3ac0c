"""Measure retrieval on the new index; if it is good enough, the live release reads it."""

from pipelines.config import params
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.gate import GateConfig
from pipelines.serving import refreshing


def run() -> None:
    """Raises Refusal if a floor of `gate` for a retrieval metric is not reached."""
    values = params.load()
    config = refreshing.Config(
        evaluate=values.section(EvaluateConfig), gate=values.section(GateConfig)
    )
    outcome = refreshing.refresh(config)
    if outcome.release_id is None:
        print("no release yet, so nothing answers from this index: `train` makes one")
    else:
        print(f"{outcome.release_id} now reads its knowledge in {outcome.collection}")
