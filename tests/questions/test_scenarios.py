from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.questions import faq, golden, scenarios, wording
from pipelines.questions.scenarios import draw, load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "data/scenarios"
STEADY = ["Why did the gate refuse the model?", "Where is the index?"]


@pytest.mark.parametrize("name", scenarios.names(FOLDER))
def test_every_scenario_of_this_repository_gives_the_same_questions_for_the_same_seed(
    name: str,
) -> None:
    scenario = load(FOLDER, name)
    requests = draw(scenario, STEADY, 50, 7)
    assert len(requests) == 50
    assert requests == draw(scenario, STEADY, 50, 7)
    assert requests != draw(scenario, STEADY, 50, 8)


def test_a_new_topic_has_its_share_and_is_corrected_each_time() -> None:
    scenario = load(FOLDER, "new-topic")
    requests = draw(scenario, STEADY, 1000, 1)
    new = [request for request in requests if request.question in scenario.questions]
    assert 340 <= len(new) <= 460
    assert {(request.thumb, request.correction) for request in new} == {(-1, scenario.correction)}
    steady_requests = [request for request in requests if request.question in STEADY]
    assert {request.correction for request in steady_requests} == {None}


def test_the_new_topic_is_new_and_large_enough_to_be_learned() -> None:
    scenario = load(FOLDER, "new-topic")
    existing_questions = [item.question for item in golden.load(ROOT / "data/golden")]
    for topic in faq.load(ROOT / "data/faq"):
        existing_questions += topic.questions
    matches = wording.most_alike(scenario.questions, existing_questions)
    assert len(set(scenario.questions)) >= 90
    assert max(match.similarity for match in matches) < 0.5
    assert (ROOT / "data/raw" / str(scenario.page)).exists()


def test_words_are_replaced_whole_and_preambles_stand_before_the_question() -> None:
    (request,) = draw(load(FOLDER, "new-vocabulary"), STEADY[:1], 1, 1)
    assert request.question == "Why did the approval board refuse the brain?"
    (request,) = draw(load(FOLDER, "longer-questions"), STEADY[:1], 1, 1)
    assert request.question.endswith(f" {STEADY[0]}")


def test_decaying_quality_appears_in_thumbs_alone() -> None:
    requests = draw(load(FOLDER, "quality-decay"), STEADY, 1000, 1)
    thumbs = [request.thumb for request in requests if request.thumb]
    assert 330 <= len(thumbs) <= 470
    assert 0.6 <= thumbs.count(-1) / len(thumbs) <= 0.8
    assert {request.question for request in requests} == set(STEADY)


def test_an_outage_takes_its_share_and_comes_last() -> None:
    requests = draw(load(FOLDER, "retrieval-outage"), STEADY, 1000, 1)
    outages = [request.outage for request in requests]
    assert 250 <= sum(outages) <= 350
    assert outages == sorted(outages)


@pytest.mark.parametrize("name", ["steady", "new-topic"])
def test_a_scenario_without_an_outage_has_none(name: str) -> None:
    requests = draw(load(FOLDER, name), STEADY, 100, 1)
    assert not any(request.outage for request in requests)


def test_an_unknown_scenario_is_reported_with_the_existing_ones() -> None:
    with pytest.raises(UserError, match=r"--scenario stedy: .* not exist; there are .*steady"):
        load(FOLDER, "stedy")


def test_a_wrong_key_is_reported_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("share: 2\n")
    with pytest.raises(UserError, match=r"odd.yaml: is not a scenario"):
        load(tmp_path, "odd")
