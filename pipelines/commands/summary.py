"""Print the summary of the last run.

What `run` prints at its end, without running anything.
"""

import argparse

from pipelines import graph
from pipelines.decision import run_summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--markdown", action="store_true", help="scores and verdict alone, for a comment"
    )


def run(markdown: bool = False) -> None:
    """Raises UserError if Markdown is asked for before a run has written scores."""
    print(run_summary.as_markdown() if markdown else run_summary.write(list(graph.read())))
