"""What each asker of an experiment counts for."""

import datetime
from typing import Any

import pytest

from pipelines.config import params
from pipelines.config.canary import CanaryConfig
from pipelines.config.experiment import ExperimentConfig
from pipelines.contracts.report import Report
from pipelines.serving import experiment_findings, experiment_outcomes, experiment_page
from pipelines.serving.experiment_findings import Findings, Side
from pipelines.serving.experiment_outcomes import Outcome
from pipelines.serving.experiment_record import Experiment
from tests.serving.conftest import ROOT

START = 1_800_000_000.0
OLD, NEW = 0.2, 0.7  # positions of askers, at a share of 0.5


def experiment(metric: str) -> Experiment:
    config = ExperimentConfig.model_validate(
        {"share": 0.5, "metric": metric, "confidence": 0.95, "repeat_seconds": 600.0}
    )
    return Experiment(
        new="r-new",
        candidate="d",
        old="r-old",
        config=config,
        canary=params.load(ROOT / "params.yaml").section(CanaryConfig),
        latency_ratio=None,
        refused_increase=None,
        start=START,
        who="ada",
        why="try it",
    )


def moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(START + seconds, datetime.UTC)


def request(name: str, position: float, seconds: float, **changes: Any) -> dict[str, Any]:
    release = "r-old" if position < 0.5 else "r-new"
    row = {"request_id": name, "position": position, "time": moment(seconds), "status": "ok"}
    row |= {"release_id": release, "refused": False, "groundedness": 1.0, "question": "What is it?"}
    return row | changes


def rating(name: str, seconds: float, thumb: int | None, text: str | None = None) -> dict[str, Any]:
    return {"request_id": name, "time": moment(seconds), "thumb": thumb, "correction": text}


def collect(
    metric: str, rows: list[dict[str, Any]], feedback: list[dict[str, Any]] | None = None
) -> list[Outcome]:
    """All outcomes an hour after the start."""
    return experiment_outcomes.collect(experiment(metric), rows, feedback or [], START + 3600)


def test_each_asker_counts_once_by_their_first_answer() -> None:
    rows = [request("a", OLD, 10, refused=True), request("b", OLD, 20), request("c", NEW, 30)]
    assert collect("refusals", rows) == [
        (START + 10, False, 1.0),
        (START + 30, True, 0.0),
    ]


def test_an_answer_without_a_measure_is_passed_over() -> None:
    rows = [
        request("a", NEW, 10, groundedness=None),
        request("b", NEW, 20, groundedness=0.25),
        request("c", OLD, 30, groundedness=None),
    ]
    assert collect("groundedness", rows) == [(START + 20, True, 0.75)]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "failed"},
        {"release_id": "r-old"},  # around a change of the routes
        {"position": None},  # from before there was a gateway
        {"time": moment(-1)},
    ],
)
def test_what_is_not_of_the_experiment_does_not_count(changes: dict[str, Any]) -> None:
    assert collect("refusals", [request("a", NEW, 10) | changes]) == []


def test_thumbs_and_corrections_count_by_an_askers_first_rating() -> None:
    rows = [request("a", OLD, 10), request("b", OLD, 20), request("c", NEW, 30)]
    feedback = [
        rating("b", 40, -1),
        rating("a", 50, 1),
        rating("c", 60, None, "It is a shop."),
        rating("elsewhere", 70, -1),
    ]
    assert collect("thumbs", rows, feedback) == [(START + 40, False, 1.0)]
    assert collect("corrections", rows, feedback) == [
        (START + 40, False, 0.0),
        (START + 60, True, 1.0),
    ]


def test_a_repeat_is_much_the_same_question_in_time_and_known_for_all_at_the_same_age() -> None:
    rows = [
        request("a", OLD, 0, question="How do I add a document?"),
        request("b", OLD, 300, question="how do I add documents"),
        request("c", NEW, 0, question="How do I add a document?"),
        request("d", NEW, 300, question="What does it cost?"),
        request("e", 0.9, 0, question="How do I add a document?"),
        request("f", 0.9, 700, question="How do I add a document?"),
        request("g", 0.8, 3300),
    ]
    assert collect("repeats", rows) == [
        (START + 600, False, 1.0),
        (START + 600, True, 0.0),
        (START + 600, True, 0.0),
    ]


def findings(outcomes: list[Outcome]) -> Findings:
    record = experiment("thumbs")
    return Findings(
        experiment=record,
        new=Side.of(outcomes, is_new=True),
        old=Side.of(outcomes, is_new=False),
        course=experiment_findings.follow(record, outcomes),
        guard_rails=Report.of([]),
    )


@pytest.mark.parametrize(
    ("new", "old", "verdict"), [(0.0, 1.0, "better"), (1.0, 0.0, "worse"), (1.0, 1.0, "undecided")]
)
def test_the_verdict_follows_the_interval(new: float, old: float, verdict: str) -> None:
    outcomes = [
        Outcome(float(number), bool(number % 2), new if number % 2 else old)
        for number in range(100)
    ]
    result = findings(outcomes)
    assert result.verdict == verdict
    assert f"{new:.1%} of 50 with r-new against {old:.1%} of 50 with r-old" in result.describe()
    assert result.course[0] == (0, -1.0, 1.0)
    assert result.course[-1].num_askers == 100


def test_without_an_asker_nothing_is_known_and_the_picture_is_the_whole_range() -> None:
    result = findings([])
    assert result.verdict == "undecided"
    assert "none with r-new against none with r-old" in result.describe()
    picture = experiment_page.draw(result.course)
    heights = [float(corner.split(",")[1]) for corner in picture.band.split()]
    assert (min(heights), max(heights)) == (picture.scale[-1][1], picture.scale[0][1])
