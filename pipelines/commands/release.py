"""Prove the exported candidate, let it take over step by step, and put it on record."""

import argparse

from pipelines.config import params
from pipelines.decision import ledger
from pipelines.serving import releasing
from pipelines.serving.release_comparison import Declaration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--who", required=True, help="who decides")
    parser.add_argument("--why", required=True, help="why, in a sentence")
    parser.add_argument(
        "--expect-latency-ratio",
        type=float,
        metavar="TIMES",
        help="the new release is meant to be slower: an answer may take so many times as long as "
        "the old release's. Counts before release.expected of params.yaml, for this release alone, "
        "and goes on record",
    )
    parser.add_argument(
        "--expect-refused-increase",
        type=float,
        metavar="SHARE",
        help="the new release is meant to refuse more: so much larger may be the share of refusing "
        "answers (0.2: 20 more in 100)",
    )


def run(
    who: str,
    why: str,
    expect_latency_ratio: float | None = None,
    expect_refused_increase: float | None = None,
) -> None:
    """Raises Refusal with the reason; the old release then keeps answering."""
    author = releasing.Author(who, why)
    config = releasing.Config.of(params.load())
    declaration = Declaration(expect_latency_ratio, expect_refused_increase)
    outcome = releasing.release(config, author, command_line=declaration)
    if not outcome.is_new:
        print(f"{outcome.release_id} is the champion already")
        return
    record = f"branch {ledger.BRANCH}, tag release/{outcome.release_id}"
    remark = "" if outcome.is_served else "; no server is live: `make serve` serves it"
    print(f"{outcome.release_id} is the champion ({record}){remark}")
    print(
        f"Share it: git add {releasing.CHAMPION} {releasing.FOLDER}.dvc models/.gitignore "
        f"&& git commit; git push origin {ledger.BRANCH} --tags; dvc push"
    )
