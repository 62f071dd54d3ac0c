"""`make demo`: the whole loop in real Airflow, Triton and Weaviate, without a hand on it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.system import hash_chain

ROOT = Path(__file__).parents[2]
CLONE = ROOT / ".state/demo/clone"


@pytest.mark.slow
def test_drift_of_the_traffic_retrains_once_and_the_better_release_goes_live() -> None:
    search_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    demo = subprocess.run(
        [sys.executable, "infra/demo.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": search_path},
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr

    release_ids: list[str] = []
    for event in read_ledger():
        if event["kind"] == "released":
            release_ids.append(event["release_id"])
    assert len(release_ids) == len(set(release_ids)) == 2
    champion = json.loads((CLONE / "models/champion.json").read_text())["champion"]
    assert champion["release_id"] in release_ids

    decisions = hash_chain.read(CLONE / "data/reports/drift/decisions.jsonl")
    without_drift = [entry for entry in decisions if entry["outcome"] == "no_drift"]
    assert without_drift[0]["reaction"] == "none"
    reactions = [entry["reaction"] for entry in decisions]
    assert reactions.count("train") == 1
    assert any(entry["wanted"] == "train" and entry["blocked_by"] for entry in decisions)


def read_ledger() -> list[dict[str, Any]]:
    """The events on the clone's branch of releases."""
    text = subprocess.run(
        ["git", "show", "releases:models/releases.jsonl"],
        cwd=CLONE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [json.loads(line) for line in text.splitlines()]
