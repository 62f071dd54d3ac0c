"""What may be declared with a release."""

import pytest

from pipelines.config.canary import Limit, LimitsConfig
from pipelines.config.release import ExpectedConfig
from pipelines.contracts.champion import Champion
from pipelines.decision.ledger import Event
from pipelines.errors import UserError
from pipelines.serving import declarations
from pipelines.serving.release_comparison import Declaration

LIMITS = LimitsConfig(
    failures=Limit(tolerate=0.0, find=0.1),
    latency=Limit(tolerate=1.5, find=2.0),
    refusals=Limit(tolerate=0.05, find=0.15),
    groundedness=Limit(tolerate=0.02, find=0.1),
    thumbs=Limit(tolerate=0.05, find=0.15),
)
SLOWER = ExpectedConfig(latency_ratio=40.0, refused_increase=None)
NOTHING = ExpectedConfig(latency_ratio=None, refused_increase=None)


def released(**declaration: float) -> Event:
    champion = Champion(
        release_id="r-1",
        who="ada",
        why="first",
        when="2026-01-01",
        num_documents=1,
        candidate="c",
        model_digest="d",
        folder="models/champion",
        model="m",
        prompt="p",
        scores={},
    )
    return Event.model_validate(
        {
            "kind": "released",
            "step": "release",
            "release_id": "r-1",
            "candidate": "c",
            "who": "ada",
            "why": "first",
            "when": "2026-01-01",
            "scores": {},
            "seen": {},
            "champion": champion,
            **declaration,
        }
    )


@pytest.mark.parametrize("ratio", [1.5, 0.4, 0.0, -2.0, float("nan"), float("inf")])
def test_a_ratio_that_allows_no_more_than_the_limit_is_a_mistake(ratio: float) -> None:
    with pytest.raises(UserError, match=r"above canary.limits.latency.tolerate \(1.5"):
        declarations.check(LIMITS, Declaration(latency_ratio=ratio))
    declarations.check(LIMITS, Declaration(latency_ratio=1.6))
    declarations.check(LIMITS, Declaration())


@pytest.mark.parametrize("increase", [0.0, -0.1, 0.85, 1.0, float("nan")])
def test_an_increase_beyond_which_no_other_could_be_found_is_a_mistake(increase: float) -> None:
    with pytest.raises(UserError, match="above 0 and below 0.85"):
        declarations.check(LIMITS, Declaration(refused_increase=increase))
    declarations.check(LIMITS, Declaration(refused_increase=0.2))


def test_the_command_line_counts_before_params_yaml() -> None:
    assert declarations.merge(SLOWER, Declaration(latency_ratio=3.0)) == Declaration(3.0)
    assert declarations.merge(SLOWER, Declaration(refused_increase=0.1)) == Declaration(40.0, 0.1)


def test_a_declaration_does_not_go_on_to_hold_for_the_next_release() -> None:
    live = released(expected_latency_ratio=40.0)
    with pytest.raises(UserError, match="is what r-1 was declared with .*40 times.*set it to null"):
        declarations.demand_new(SLOWER, Declaration(), [released(), live])
    declarations.demand_new(SLOWER, Declaration(latency_ratio=40.0), [live])
    declarations.demand_new(SLOWER, Declaration(), [live, released()])
    declarations.demand_new(NOTHING, Declaration(), [live])
    declarations.demand_new(SLOWER, Declaration(), [])
