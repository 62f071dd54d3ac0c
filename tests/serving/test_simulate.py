"""Simulated users ask a real Triton over a real Weaviate; `monitor` judges what serving logs."""

import argparse
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import files, vectorstore
from pipelines.commands import monitor, review, simulate
from pipelines.config.serve import Prices, ServeConfig
from pipelines.contracts.drift import Decision
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.questions import reviews, scenarios
from pipelines.serving import live_routes, live_server
from pipelines.serving.triton_connection import Triton

ROOT = Path(__file__).parents[2]
SERVE = ServeConfig(
    max_requests_at_once=16,
    max_waiting=64,
    max_seconds=20.0,
    keep_loaded=2,
    keep_files=3,
    prices=Prices(prompt_tokens_per_million=1000.0, new_tokens_per_million=2000.0, request=0.5),
)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def assistant(
    serving: Path, models: Path, export: Callable[..., ReleaseRecord]
) -> Iterator[Triton]:
    """The tiny assistant, live as r-one.

    Its clone has this repository's scenarios, FAQ, golden set and parameters.
    """
    chunks = models / "chunks.parquet"
    vectors = models / "vectors.parquet"
    receipt = vectorstore.build_index(chunks, vectors, keep=3, sample=4, hybrid_alpha=1.0)
    for name in ("data/scenarios", "data/golden", "data/faq"):
        shutil.copytree(ROOT / name, serving / name)
    values = (ROOT / "params.yaml").read_text()
    values = re.sub(r"baseline_requests: 1000", "baseline_requests: 100", values)
    (serving / "params.yaml").write_text(values)
    export(Path("export"), receipt, "r-one")
    live_server.install(Path("export"), "r-one")
    vectorstore.point_alias(live_server.alias("r-one"), receipt.collection)
    with (
        vectorstore.server_address() as environment,
        live_server.hold(SERVE, ["r-one"], environment) as live,
    ):
        live_routes.write([("r-one", 1.0)])
        yield live


def count_rows(at_least: int) -> int:
    """Rows of the log's files, as soon as there are so many."""
    deadline = time.monotonic() + 20
    count = 0
    while time.monotonic() < deadline:
        paths = list(Path("data/traffic/requests").glob("*.parquet"))
        count = sum(len(list(files.read(path, REQUESTS))) for path in paths)
        if count >= at_least:
            break
        time.sleep(0.5)
    return count


def count_corrections(text: str) -> int:
    """Feedback with this correction."""
    rows: list[dict[str, Any]] = []
    for path in Path("data/traffic/feedback").glob("*.parquet"):
        rows += files.read(path, FEEDBACK)
    return sum(row["correction"] == text for row in rows)


def judge_traffic() -> Decision:
    monitor.run(None, 0)
    return files.read_json(Path("data/reports/drift/verdict.json"), Decision)


def accept_all(page: str | None) -> None:
    options = {"who": "ada", "decision": "accept", "request": ["all"], "answer": None}
    review.run(argparse.Namespace(**options, page=page, why=""))


@pytest.mark.slow
def test_steady_traffic_is_no_drift_and_a_new_topic_is_and_is_learned_once_reviewed(
    assistant: Triton, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate.run("steady", 120, 1) == 0
    assert count_rows(at_least=120) == 120
    assert "120 of 120 requests answered" in capsys.readouterr().out
    first = judge_traffic()
    assert (first.outcome, first.release_id, first.accepted) == ("no_drift", "r-one", True)

    assert simulate.run("new-topic", 120, 2) == 0
    assert count_rows(at_least=240) == 240
    topic = scenarios.load(Path("data/scenarios"), "new-topic")
    assert topic.correction is not None
    assert count_corrections(topic.correction) > 30
    second = judge_traffic()
    assert second.outcome == "drift"
    assert {"new_topic", "corrections", "thumbs_down"} <= set(second.signals)
    assert second.reaction == "human"

    accept_all(topic.page)
    entries = reviews.read(Path("data/reviews.jsonl"))
    answers = {entry.answer for entry in entries if entry.decision == "accepted"}
    assert answers == {topic.correction}
    assert simulate.run("new-topic", 120, 3) == 0
    assert count_rows(at_least=360) == 360
    assert judge_traffic().reaction == "train"

    for number in (1, 2):
        assert simulate.run("retrieval-outage", 150, 3 + number) == 0
        assert count_rows(at_least=360 + 150 * number) == 360 + 150 * number
        last = judge_traffic()
        assert "failures" in last.signals
    assert last.reaction == "human"
    assert "failed: " in capsys.readouterr().out
    assert vectorstore.alias_state(live_server.alias("r-one")).current is not None
