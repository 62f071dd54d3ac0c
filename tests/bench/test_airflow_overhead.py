"""What Airflow costs over plain `dvc repro` for the same work, a run over unchanged results.

pytest tests/bench/test_airflow_overhead.py -s -o norecursedirs=

Measured on 2 cores: 54.9 s for 18 tasks, 3.4 s in a task, against 1.4 s of `dvc repro` in that
run's checkout (0.8 s for a single stage): 3.0 s a task.
"""

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Any

from pipelines import graph
from tests.dags.conftest import Airflow, airflow
from tests.end_to_end.test_pipeline import environment

__all__ = ["airflow"]  # the fixture


def test_seconds_a_task_over_dvc_repro(airflow: Airflow) -> None:
    airflow.unpause("train")
    # The first run does the work, the second measures against the new champion, the third finds
    # everything unchanged.
    for _ in range(3):
        run = airflow.trigger("train", {"release.approval": "auto"})
        assert airflow.final_state("train", run, 900) == "success"
    stages = list(graph.read(airflow.folder / "dvc.yaml"))
    tasks = airflow.tasks("train", run)
    assert {tasks[stage]["state"] for stage in stages} == {"skipped"}
    total = seconds_of(tasks)
    in_task = mean(task["duration"] or 0 for task in tasks.values())
    (git_file,) = (airflow.folder / ".state/runs").glob("*/.git")
    checkout = git_file.parent
    plain = time_dvc(checkout, "repro")
    single = mean(time_dvc(checkout, "repro", "--single-item", stage) for stage in stages)

    print(f"\nAirflow: {total:.1f} s for {len(tasks)} tasks, {in_task:.1f} s in a task")
    print(f"dvc repro: {plain:.1f} s; dvc repro --single-item: {single:.1f} s a stage")
    print(f"overhead of Airflow: {(total - plain) / len(tasks):.1f} s a task")
    assert total > plain


def time_dvc(folder: Path, *words: str) -> float:
    """Seconds that a DVC command takes."""
    start = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert process.returncode == 0, process.stderr
    return time.monotonic() - start


def seconds_of(tasks: dict[str, Any]) -> float:
    """From the start of the first task to the end of the last one."""
    starts: list[datetime] = []
    ends: list[datetime] = []
    for task in tasks.values():
        if task["start_date"] and task["end_date"]:
            starts.append(parse_time(task["start_date"]))
            ends.append(parse_time(task["end_date"]))
    return (max(ends) - min(starts)).total_seconds()


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
