"""What a stopped A/B test leaves in the ledger, without a live server."""

import pytest

from pipelines.config import params
from pipelines.config.experiment import ExperimentConfig
from pipelines.contracts.verdict import Verdict
from pipelines.decision import ledger, step_results
from pipelines.serving import experiment_record, experimenting, releasing
from tests.serving.conftest import ROOT
from tests.serving.test_experiment_outcomes import experiment
from tests.serving.test_release import ledger_lines

STOP = ("compared", "experiment stop", "r-new")
VERDICT = Verdict(accepted=True, candidate="d", reason="accepted", rules=[], overrides=[])


@pytest.mark.parametrize(
    ("earlier", "num_lines"),
    [
        ("", 1),
        ("old", 1),  # the same decision, which a kill has interrupted
        ("new", 2),  # another decision, which could not be carried out
    ],
)
@pytest.mark.usefixtures("clone")
def test_each_decision_of_a_stop_has_one_line(earlier: str, num_lines: int) -> None:
    values = params.load(ROOT / "params.yaml")
    config = experimenting.Config(values.section(ExperimentConfig), releasing.Config.of(values))
    author = releasing.Author("ada", "it is no better")
    step_results.begin("r-new", VERDICT)
    record = experiment("thumbs")
    if earlier:
        experiment_record.write(record)
        experimenting.stop(config, author, "old")
    experiment_record.write(record.model_copy(update={"keep": earlier}))
    findings = experimenting.stop(config, author, "old")
    assert findings.verdict == "undecided"
    assert ledger_lines() == [STOP] * num_lines
    assert "the old release stays; undecided in thumbs" in ledger.read()[-1].why
    assert experiment_record.read() is None
