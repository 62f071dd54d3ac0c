"""Print the summary of the last run.

What `run` prints at its end, without running anything.
"""

from pipelines import graph
from pipelines.decision import run_summary


def run() -> None:
    print(run_summary.write(list(graph.read())))
