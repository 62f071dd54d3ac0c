"""The experiment that is under way on this clone's live server: .state/serving/experiment.json.

It survives a restart of the server. What it promises, it keeps as it was at its start, whatever
params.yaml says later.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipelines import files
from pipelines.config.canary import CanaryConfig
from pipelines.config.experiment import ExperimentConfig
from pipelines.errors import UserError
from pipelines.serving import live_routes, locations
from pipelines.serving.release_comparison import Declaration


class Experiment(BaseModel):
    """Two releases that answer side by side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    new: str
    candidate: str  # digest of the new release's adapter
    old: str  # the live release
    config: ExperimentConfig
    canary: CanaryConfig  # whose limits are the guard rails
    latency_ratio: float | None  # as declared
    refused_increase: float | None
    start: float  # seconds since 1970
    who: str
    why: str
    # Digest of the new release's export, whose code was compared at the start; empty in a record
    # from before this was written.
    export: str = ""
    # Why the live server gave everything back to the old release; empty as long as it did not.
    harm: str = ""
    # The release that a person keeps, `old` or `new`, while it is stopped: the live server leaves
    # the routes alone.
    keep: str = ""

    @property
    def is_under_way(self) -> bool:
        """Whether both releases are to answer."""
        return not self.harm and not self.keep

    @property
    def shares(self) -> live_routes.Shares:
        """The routes as long as it runs."""
        share = self.config.share
        return [(self.old, round(1 - share, 6)), (self.new, share)]

    @property
    def declaration(self) -> Declaration:
        return Declaration(self.latency_ratio, self.refused_increase)


def path() -> Path:
    return locations.serving_folder() / "experiment.json"


def read() -> Experiment | None:
    """None if no experiment was started, or the last one was stopped."""
    return files.read_json(path(), Experiment) if path().exists() else None


def demand() -> Experiment:
    """Raises UserError if there is none."""
    experiment = read()
    if experiment is None:
        raise UserError(
            "no experiment is under way: `python -m pipelines experiment start --who NAME "
            "--why TEXT` begins one with the release in models/triton"
        )
    return experiment


def write(experiment: Experiment) -> None:
    files.write_json(path(), experiment)


def remove() -> None:
    path().unlink(missing_ok=True)


def demand_none(action: str) -> None:
    """Raises UserError while an experiment is under way, as both of its releases must stay."""
    experiment = read()
    if experiment is not None:
        raise UserError(
            f"{action} has to wait: {experiment.who} compares {experiment.new} with "
            f"{experiment.old} on live traffic. `python -m pipelines experiment status` shows "
            "what is known so far, `python -m pipelines experiment stop --keep old|new "
            "--who NAME --why TEXT` ends it"
        )
