"""What Airflow's DAG processor pays for `dags/train.py`, beside Airflow's own import.

pytest tests/bench/test_parsing_speed.py -s -o norecursedirs=
"""

from pathlib import Path

from tests.dags.test_parsing import ROOT, run_script

SCRIPT = """
import json, time
start = time.process_time()
import airflow.sdk
import airflow.providers.standard.hooks.subprocess
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.dag_processing.dagbag import DagBag
airflow_seconds = time.process_time() - start
start = time.process_time()
import dags.train
seconds = time.process_time() - start
print("RESULT" + json.dumps({"seconds": seconds, "airflow_seconds": airflow_seconds}))
"""


def test_share_of_airflows_own_import(tmp_path: Path) -> None:
    shares: list[float] = []
    for attempt in range(5):
        result = run_script(ROOT, tmp_path / str(attempt), SCRIPT)
        shares.append(result["seconds"] / result["airflow_seconds"])
        print(f"\nAirflow {result['airflow_seconds']:.2f} s, train.py {result['seconds']:.2f} s")
    assert min(shares) < 0.15
