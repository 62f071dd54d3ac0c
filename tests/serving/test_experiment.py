"""An experiment on a live server: both releases answer, harm ends it, a person decides.

`python -m pipelines serve` runs in a process of its own.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.commands import experiment, release, releases, rollback
from pipelines.decision import ledger, step_results
from pipelines.errors import Refusal, UserError
from pipelines.serving import (
    client,
    experiment_record,
    live_routes,
    live_server,
    locations,
    recent_traffic,
)
from pipelines.serving.triton_connection import Triton
from tests.serving.test_release import FAILING, ledger_lines
from tests.serving.users import kill_server, questions, traffic

pytestmark = pytest.mark.sequence

HALVES = ([("r-one", 0.5), ("r-two", 0.5)], None)


def command(action: str, **arguments: str) -> None:
    """`python -m pipelines experiment ACTION`, by ada."""
    values: dict[str, str | None] = {"who": "ada", "why": "shorter answers", **arguments}
    values |= {"expect_latency_ratio": None, "expect_refused_increase": None}
    assert experiment.run(argparse.Namespace(action=action, **values)) == 0


def change_params(section: str, **changes: object) -> None:
    path = Path("params.yaml")
    values = yaml.safe_load(path.read_text())
    values[section] |= changes
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def test_an_experiment_needs_a_live_release(
    served: Callable[[], Triton], candidate: Callable[..., str]
) -> None:
    served()
    candidate("r-one")
    with pytest.raises(UserError, match="needs a live release"):
        command("start")
    release.run("ada", "first")
    with pytest.raises(UserError, match="r-one in models/triton is the live release itself"):
        command("start")
    for action in ("status", "stop"):
        with pytest.raises(UserError, match="no experiment is under way"):
            command(action, keep="old")


def test_both_releases_answer_and_nothing_else_may_change_them(
    served: Callable[[], Triton],
    candidate: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    served()
    change_params("experiment", metric="refusals")
    change_params("shadow", replay=0, share=0.0)
    candidate("r-two")
    command("start")
    assert live_routes.read() == HALVES
    assert ledger_lines()[-1] == ("compared", "experiment start", "r-two")
    with pytest.raises(UserError, match="a release has to wait: ada compares r-two with r-one"):
        release.run("ada", "try it")
    with pytest.raises(UserError, match="a rollback has to wait"):
        rollback.run(None, "ada", "try it")
    answers = {client.ask(question).release_id for question in questions()}
    assert answers == {"r-one", "r-two"}
    wait_for_rows(len(questions()))
    command("status")
    output = capsys.readouterr().out
    assert "undecided in refusals: 0.0% of" in output
    page = Path("data/reports/experiment.html").read_text()
    assert "<polygon" in page
    assert "failed requests" in page


def wait_for_rows(num_rows: int) -> None:
    """Until so many requests of the experiment are in the traffic log."""
    start = experiment_record.demand().start
    deadline = time.monotonic() + 60
    while len(recent_traffic.requests(locations.traffic_folder(), start)) < num_rows:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_it_goes_on_after_a_kill_of_the_server(served: Callable[[], Triton]) -> None:
    kill_server(served())
    deadline = time.monotonic() + 600
    log = Path("serve.log")
    while "the experiment goes on: r-two answers 50%" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    assert live_routes.read() == HALVES
    assert {client.ask(question).release_id for question in questions()} == {"r-one", "r-two"}


def test_a_person_keeps_the_old_release(served: Callable[[], Triton]) -> None:
    triton = served()
    command("stop", keep="old")
    assert live_routes.read() == ([("r-one", 1.0)], None)
    assert "r-two" not in live_server.loaded_releases(triton)
    event = ledger.read()[-1]
    assert (event.kind, event.step) == ("compared", "experiment stop")
    assert "the old release stays; undecided in refusals" in event.why
    [attempt] = step_results.attempts("r-two")
    assert [step.step for step in attempt.steps] == ["gate", "infra validation", "experiment"]
    assert "A/B test: refused" in Path("data/reports/releases/r-two.html").read_text()
    assert experiment_record.read() is None


@pytest.mark.slow
def test_a_release_that_does_harm_loses_its_askers_by_itself(
    served: Callable[[], Triton],
    candidate: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    served()
    candidate("r-failing", FAILING)
    command("start")
    deadline = time.monotonic() + 300
    with traffic():
        while not experiment_record.demand().harm:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert "failed requests" in experiment_record.demand().harm
    assert live_routes.read() == ([("r-one", 1.0)], None)
    with pytest.raises(Refusal, match="was taken back by the live server"):
        command("stop", keep="new")
    capsys.readouterr()
    command("status")
    assert "ended by itself: " in capsys.readouterr().out
    command("stop", keep="old")
    assert ledger.champion() == ledger.find_release("r-one")


def test_a_person_keeps_the_new_release(
    served: Callable[[], Triton],
    candidate: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    served()
    candidate("r-two")
    command("start")
    candidate("r-three")
    with pytest.raises(UserError, match="models/triton holds r-three, not r-two"):
        command("stop", keep="new")
    candidate("r-two")
    with Path("models/triton/assistant/1/runtime/guard.py").open("a") as code:
        code.write("print('foreign')\n")
    with pytest.raises(Refusal, match="is not the export of r-two that was proven when"):
        command("stop", keep="new")
    candidate("r-two")
    command("stop", keep="new")
    assert live_routes.read() == ([("r-two", 1.0)], None)
    assert ledger_lines()[-2:] == [
        ("compared", "experiment stop", "r-two"),
        ("released", "release", "r-two"),
    ]
    assert experiment_record.read() is None
    capsys.readouterr()
    releases.run()
    assert "compared       r-two" in capsys.readouterr().out
