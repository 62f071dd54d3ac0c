"""Say that a window is what traffic should look like: the baseline starts anew with it."""

import argparse

from pipelines.errors import UserError
from pipelines.monitoring import cycle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("window", help="the window's name")
    parser.add_argument("--who", required=True, help="who says so")
    parser.add_argument("--why", required=True, help="why, in a sentence")


def run(window: str, who: str, why: str) -> None:
    """Add a line to the ledger. Raises UserError if the window was never judged."""
    if not who.strip() or not why.strip():
        raise UserError("--who and --why must say something: the ledger is read by others")
    acceptance = cycle.accept(window, who, why)
    print(f"{window} is what traffic to {acceptance.release_id} should look like, says {who}")
