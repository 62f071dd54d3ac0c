"""Judge the traffic since the last window, decide what follows, and put both on record.

The DAG `monitor` runs it on a schedule, in the folder that serving writes to.
"""

import argparse
from pathlib import Path

from pipelines.config import params
from pipelines.config.airflow import AirflowConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.examples import ExamplesConfig
from pipelines.config.monitor import MonitorConfig
from pipelines.config.params import Params
from pipelines.config.retention import RetentionConfig
from pipelines.erasure import expiry
from pipelines.errors import UserError
from pipelines.monitoring import cycle
from pipelines.questions import lessons
from pipelines.runs import retention
from pipelines.system import paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run-id", help="a name of this run: the same name gives the same decision again"
    )
    parser.add_argument(
        "--running",
        type=int,
        help="trainings and refreshes that run or wait "
        "(default: the runs whose checkout is open on this machine)",
    )


def run(run_id: str | None, running: int | None) -> int:
    """Print verdict and decision. The exit code is 0 whatever they are."""
    clone = paths.state_folder().parent
    if clone.resolve() != Path.cwd().resolve():
        raise UserError(f"traffic is logged in {clone}: run this there, not in {Path.cwd()}")
    values = params.load()

    def count_running() -> int | None:
        return _count_open_runs(values) if running is None else running

    decision = cycle.run(_settings(values), run_id, count_running)
    proposal = f" (wanted {decision.wanted})" if decision.blocked_by else ""
    pages = f"report {decision.report}, trend {cycle.TREND_PAGE}"
    print(f"{decision.window}: {decision.reason}")
    print(f"reaction {decision.reaction}{proposal}; {pages}")
    _obey_retention(values.section(RetentionConfig))
    return 0


def _obey_retention(config: RetentionConfig) -> None:
    """What cannot be read keeps its age to itself: the decision stands all the same."""
    try:
        for location, count in expiry.remove_expired(config, cycle.now()).items():
            print(f"retention: {location}: {count} removed")
    except UserError as error:
        print(f"retention: stopped, what is too old stays: {error}")


def _settings(values: Params) -> cycle.Settings:
    monitor = values.section(MonitorConfig)
    limits = lessons.Limits.from_config(monitor, values.section(ExamplesConfig))
    return cycle.Settings(monitor, values.section(EncoderConfig), limits)


def _count_open_runs(values: Params) -> int | None:
    """Trainings and refreshes whose checkout is open here; None if other machines may run some."""
    if values.section(AirflowConfig).git_remote:
        return None
    return sum(name.startswith(("train-", "refresh-")) for name in retention.open_runs())
