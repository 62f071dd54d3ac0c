"""Make an earlier release live again: model, prompt and the knowledge it was released with."""

import argparse

from pipelines.config import params
from pipelines.config.serve import ServeConfig
from pipelines.serving import releasing, restoring


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "release_id",
        nargs="?",
        help="as `releases` lists it; without it, the release before the live one",
    )
    parser.add_argument("--who", required=True, help="who decides")
    parser.add_argument("--why", required=True, help="why, in a sentence")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="although pages are restricted by now that everyone could read then",
    )


def run(release_id: str | None, who: str, why: str, publish: bool = False) -> None:
    author = releasing.Author(who, why)
    config = params.load().section(ServeConfig)
    outcome = restoring.roll_back(config, release_id, author, may_publish=publish)
    if outcome.previous is None:
        print(f"{outcome.release_id} is the live release already")
        return
    remark = "" if outcome.is_served else " (no server is live: `make serve` serves it)"
    print(f"{outcome.release_id} is live again instead of {outcome.previous}{remark}")
