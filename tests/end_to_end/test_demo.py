"""`make demo`: the whole loop in real Airflow, Triton and Weaviate, no hand on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import hashchain

ROOT = Path(__file__).parents[2]
CLONE = ROOT / ".state/demo/clone"


@pytest.mark.slow
def test_drift_of_the_traffic_retrains_once_and_the_better_release_goes_live() -> None:
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run([sys.executable, "infra/demo.py"], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PATH": search})
    assert done.returncode == 0, done.stdout + done.stderr

    ledger = subprocess.run(["git", "show", "releases:models/releases.jsonl"], cwd=CLONE, capture_output=True, text=True, check=True).stdout
    events = hashchain.parse(ledger, "models/releases.jsonl")
    released = [event["release_id"] for event in events if event["kind"] == "released"]
    assert len(released) == len(set(released)) == 2
    assert json.loads((CLONE / "models/champion.json").read_text())["champion"]["release_id"] in released

    decisions = hashchain.read(CLONE / "data/reports/drift/decisions.jsonl")
    assert [decision["reaction"] for decision in decisions if decision["outcome"] == "no_drift"][0] == "none"
    assert [decision["reaction"] for decision in decisions].count("train") == 1
    assert any(decision["wanted"] == "train" and decision["blocked_by"] for decision in decisions)
