"""What Airflow costs over plain `dvc repro` for the same work: a run of `train` over unchanged results against `dvc repro` in that run's checkout.

pytest tests/bench/test_airflow_overhead.py -s -o norecursedirs=

Seen on 2 cores: 54.9 s for 18 tasks, 3.4 s in a task, against 1.4 s of `dvc repro` (0.8 s a stage alone): 3.0 s a task.
"""

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from pipelines import graph
from tests.dags.conftest import Airflow, airflow
from tests.end_to_end.test_pipeline import environment

__all__ = ["airflow"]  # the fixture


def test_seconds_a_task_over_dvc_repro(airflow: Airflow) -> None:
    airflow.call("PATCH", "/api/v2/dags/train", {"is_paused": False})
    for _ in range(3):  # the first does the work, the second measures against the new champion, the third finds all unchanged
        run = airflow.trigger("train", {"release.approval": "auto"})
        assert airflow.finished("train", run, 900) == "success"
    stages = list(graph.read(airflow.folder / "dvc.yaml"))
    tasks = airflow.tasks("train", run)
    assert {tasks[stage]["state"] for stage in stages} == {"skipped"}
    whole = seconds_between(min(task["start_date"] for task in tasks.values()), max(task["end_date"] for task in tasks.values() if task["end_date"]))
    inside = sum(task["duration"] or 0 for task in tasks.values())
    (checkout,) = [path for path in (airflow.folder / ".state/runs").iterdir() if (path / ".git").exists()]
    plain = timed(checkout, "repro")
    single = [timed(checkout, "repro", "--single-item", stage) for stage in stages]

    print(
        f"\nAirflow: {whole:.1f} s for {len(tasks)} tasks, {inside / len(tasks):.1f} s in a task; dvc repro: {plain:.1f} s; a stage alone by dvc repro --single-item: {sum(single) / len(single):.1f} s"
    )
    print(f"overhead of Airflow: {(whole - plain) / len(tasks):.1f} s a task")
    assert whole > plain


def timed(folder: Path, *words: str) -> float:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def seconds_between(first: str, last: str) -> float:
    return (datetime.fromisoformat(last.replace("Z", "+00:00")) - datetime.fromisoformat(first.replace("Z", "+00:00"))).total_seconds()
