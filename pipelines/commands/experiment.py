"""Let two releases answer side by side for days, and say which is better.

python -m pipelines experiment start --who ada --why "shorter prompt"
python -m pipelines experiment status
python -m pipelines experiment stop --keep new --who ada --why "fewer thumbs down"

The release in models/triton answers `experiment.share` of the askers; each stays with one release.
"""

import argparse

from pipelines.config import params
from pipelines.config.experiment import ExperimentConfig
from pipelines.serving import (
    experiment_findings,
    experiment_page,
    experiment_record,
    experimenting,
    releasing,
)
from pipelines.serving.experiment_findings import Findings
from pipelines.serving.release_comparison import Declaration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    start = actions.add_parser("start", help="prove the release in models/triton and share askers")
    start.add_argument(
        "--expect-latency-ratio",
        type=float,
        metavar="TIMES",
        help="as long as this release may take, in multiples of the live one",
    )
    start.add_argument(
        "--expect-refused-increase",
        type=float,
        metavar="SHARE",
        help="so many more of the questions this release may refuse",
    )
    actions.add_parser("status", help="what is known so far, and the page with the picture")
    stop = actions.add_parser("stop", help="end it and put on record what it has shown")
    stop.add_argument(
        "--keep",
        required=True,
        choices=["old", "new"],
        help="old: the new release goes; new: it is released",
    )
    for action in (start, stop):
        action.add_argument("--who", required=True, help="who decides")
        action.add_argument("--why", required=True, help="why, in a sentence")


def run(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "start":
            _start(arguments)
        case "status":
            _print(experiment_findings.read(experiment_record.demand()))
        case "stop":
            author = releasing.Author(arguments.who, arguments.why)
            findings = experimenting.stop(_config(), author, arguments.keep)
            _print(findings)
            print(f"stopped; {getattr(findings.experiment, arguments.keep)} answers everything")
    return 0


def _start(arguments: argparse.Namespace) -> None:
    declaration = Declaration(arguments.expect_latency_ratio, arguments.expect_refused_increase)
    author = releasing.Author(arguments.who, arguments.why)
    experiment = experimenting.start(_config(), author, declaration)
    print(
        f"{experiment.new} answers {experiment.config.share:.0%} of the askers beside "
        f"{experiment.old}; `python -m pipelines experiment status` says what is known"
    )


def _config() -> experimenting.Config:
    values = params.load()
    return experimenting.Config(values.section(ExperimentConfig), releasing.Config.of(values))


def _print(findings: Findings) -> None:
    if findings.experiment.harm:
        print(f"ended by itself: {findings.experiment.harm}")
    print(findings.describe())
    for check in findings.guard_rails.checks:
        print(f"  {'' if check.passed else 'FAILED '}{check.describe()}")
    print(f"page: {experiment_page.write(findings)}")
