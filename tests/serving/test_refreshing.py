"""Retrieval must reach the gate's floors before the live release reads a new index."""

import shutil
from pathlib import Path

import pytest

from pipelines.config import params
from pipelines.config.gate import GateConfig
from pipelines.contracts.receipt import Encoder, Receipt
from pipelines.contracts.scores import Interval
from pipelines.errors import UserError
from pipelines.questions import prompts
from pipelines.serving import model_code, refreshing
from pipelines.serving.model_configs import ASSISTANT
from tests.decision.test_champions import RELEASE

ROOT = Path(__file__).parents[2]


def intervals(low: float, num: int = 300) -> dict[str, Interval]:
    """The same interval for every retrieval metric."""
    interval = Interval(value=low, low=low, high=1.0, num=num)
    return dict.fromkeys(refreshing.METRICS, interval)


def gate(floor: float) -> GateConfig:
    """The default gate with a floor for a retrieval metric and one for another metric."""
    floors = {"hit_at_3": floor, "exact_match": 1.0}
    return params.load().section(GateConfig).model_copy(update={"floors": floors})


@pytest.mark.parametrize(("low", "failures"), [(0.5, []), (0.6, []), (0.4, ["floor hit_at_3"])])
def test_only_the_floors_of_retrieval_metrics_decide(low: float, failures: list[str]) -> None:
    report = refreshing.judge(gate(floor=0.5), intervals(low))
    assert [check.name for check in report.failures()] == failures
    assert len(report.checks) == 2


def test_an_index_without_a_measured_question_is_refused() -> None:
    report = refreshing.judge(gate(floor=0.0), intervals(0.0, num=0))
    assert [check.name for check in report.failures()] == ["enough golden questions with a page"]


def test_retrieval_for_a_model_that_reads_is_measured_on_questions_about_documents_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data/golden", "data/qa"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    refreshing.ADAPTER.mkdir(parents=True)
    by_heart = refreshing._load_questions(None)
    assert {question.kind for question in by_heart} == {"faq"}
    shutil.copy(ROOT / "data/prompts/grounded-v1.yaml", refreshing.ADAPTER / prompts.FILE)
    reading = refreshing._load_questions(None)
    assert {question.kind for question in reading} == {"faq", "document"}
    assert len(reading) > len(by_heart) + 200
    assert not any(question.expects_refusal for question in reading)


def test_a_release_that_knows_of_no_readers_gets_no_index_with_restricted_passages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code as it is exported now, and the same without the module that it lacked before."""
    monkeypatch.chdir(tmp_path)
    champion = RELEASE.model_copy(update={"folder": "champion"})
    receipt = Receipt(
        collection="Chunks_1",
        digest="d",
        num_objects=4,
        dimensions=3,
        encoder=Encoder(model="mini", revision=None, digest="e", precision="fp32"),
        chunks_digest="c",
        vectors_digest="v",
        hybrid_alpha=0.7,
        server_version="1",
    )
    restricted = receipt.model_copy(update={"num_restricted": 3})
    model_code.copy(ASSISTANT, Path("champion") / ASSISTANT / "1")
    refreshing._demand_readers(champion, restricted)
    (Path("champion") / ASSISTANT / "1/runtime/readers.py").unlink()
    refreshing._demand_readers(champion, receipt)
    with pytest.raises(UserError, match=r"holds passages that not everyone may read \(3\), and "):
        refreshing._demand_readers(champion, restricted)
