"""Simulated users ask a real Triton over a real Weaviate; what serving logs of it is judged by `monitor`."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import files, reviews
from pipelines.commands import monitor, review, simulate
from pipelines.config.serve import Prices, ServeConfig
from pipelines.contracts.drift import Decision
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.monitoring import scenarios
from pipelines.serving import live
from pipelines.serving.server import Triton
from pipelines.vectorstore import aliases, collections
from pipelines.vectorstore import server as weaviate

ROOT = Path(__file__).parents[2]
SERVE = ServeConfig(max_requests_at_once=16, max_waiting=64, max_seconds=20.0, keep_loaded=2, keep_files=3, prices=Prices(prompt_tokens_per_million=1000.0, new_tokens_per_million=2000.0, request=0.5))
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def assistant(serving: Path, models: Path, export: Callable[..., ReleaseRecord]) -> Iterator[Triton]:
    """The tiny assistant, live as r-one, in a clone with this repository's scenarios, FAQ, golden set and parameters."""
    receipt: Receipt = collections.build(models / "chunks.parquet", models / "vectors.parquet", keep=3, sample=4, hybrid_alpha=1.0)
    for name in ("data/scenarios", "data/golden", "data/faq"):
        shutil.copytree(ROOT / name, serving / name)
    text = re.sub(r"baseline_requests: 1000", "baseline_requests: 100", (ROOT / "params.yaml").read_text())
    (serving / "params.yaml").write_text(text)
    export(Path("export"), receipt, "r-one")
    live.install(Path("export"), "r-one")
    aliases.point(live.alias("r-one"), receipt.collection)
    with weaviate.addressed() as environment, live.held(SERVE, ["r-one"], environment) as held:
        live.set_routes([("r-one", 1.0)])
        yield held


def logged(count: int) -> int:
    """Rows of the log's files, as soon as there are `count`."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = sum(1 for path in Path("data/traffic/requests").glob("*.parquet") for _ in files.read(path, REQUESTS))
        if found >= count:
            return found
        time.sleep(0.5)
    return found


def judged() -> Decision:
    monitor.run(None, 0)
    return files.read_json(Path("data/reports/drift/verdict.json"), Decision)


@pytest.mark.slow
def test_steady_traffic_is_no_drift_and_a_new_topic_with_corrections_is_and_is_learned_from_once_reviewed(assistant: Triton, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.run("steady", 120, 1) == 0
    assert logged(120) == 120
    assert "120 of 120 requests answered" in capsys.readouterr().out
    first = judged()
    assert (first.outcome, first.release_id, first.accepted) == ("no_drift", "r-one", True)

    assert simulate.run("new-topic", 120, 2) == 0
    assert logged(240) == 240
    topic = scenarios.load(Path("data/scenarios"), "new-topic")
    said = [row for path in Path("data/traffic/feedback").glob("*.parquet") for row in files.read(path, FEEDBACK)]
    assert sum(row["correction"] == topic.correction for row in said) > 30
    second = judged()
    assert second.outcome == "drift"
    assert {"new_topic", "corrections", "thumbs_down"} <= set(second.signals)
    assert second.reaction == "human"

    review.run("ada", "accept", ["all"], None, topic.page, "")
    made = reviews.read(Path("data/reviews.jsonl"))
    assert {one.answer for one in made if one.decision == "accepted"} == {topic.correction}
    assert simulate.run("new-topic", 120, 3) == 0
    assert logged(360) == 360
    assert judged().reaction == "train"

    for number in (1, 2):
        assert simulate.run("retrieval-outage", 150, 3 + number) == 0
        assert logged(360 + 150 * number) == 360 + 150 * number
        last = judged()
        assert "failures" in last.signals
    assert last.reaction == "human"
    assert "failed: " in capsys.readouterr().out
    assert aliases.state(live.alias("r-one"))[0] is not None
