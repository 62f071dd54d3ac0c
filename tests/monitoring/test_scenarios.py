from pathlib import Path

import pytest

from pipelines import faq, golden, wording
from pipelines.errors import UserError
from pipelines.monitoring import scenarios
from pipelines.monitoring.scenarios import draw, load

FOLDER = Path("data/scenarios")
STEADY = ["Why did the gate refuse the model?", "Where is the index?"]


@pytest.mark.parametrize("name", scenarios.names(FOLDER))
def test_every_scenario_of_this_repository_is_read_and_gives_the_same_questions_for_the_same_seed(name: str) -> None:
    scenario = load(FOLDER, name)
    assert len(draw(scenario, STEADY, 50, 7)) == 50
    assert draw(scenario, STEADY, 50, 7) == draw(scenario, STEADY, 50, 7) != draw(scenario, STEADY, 50, 8)


def test_a_new_topic_comes_in_its_share_and_is_corrected_each_time() -> None:
    scenario = load(FOLDER, "new-topic")
    asked = draw(scenario, STEADY, 1000, 1)
    own = [one for one in asked if one.question in scenario.questions]
    assert 340 <= len(own) <= 460
    assert {(one.thumb, one.correction) for one in own} == {(-1, scenario.correction)}
    assert {one.correction for one in asked if one.question in STEADY} == {None}


def test_the_new_topic_is_new_and_large_enough_to_be_learned() -> None:
    scenario = load(FOLDER, "new-topic")
    written = [question for topic in faq.load(Path("data/faq")) for question in topic.questions] + [item.question for item in golden.load(Path("data/golden"))]
    assert len(set(scenario.questions)) >= 90
    assert max(similarity for similarity, _ in wording.most_alike(scenario.questions, written)) < 0.5
    assert (Path("data/raw") / str(scenario.page)).exists()


def test_words_are_replaced_whole_and_preambles_stand_before_the_question() -> None:
    assert draw(load(FOLDER, "new-vocabulary"), STEADY[:1], 1, 1)[0].question == "Why did the approval board refuse the brain?"
    assert draw(load(FOLDER, "longer-questions"), STEADY[:1], 1, 1)[0].question.endswith(f" {STEADY[0]}")


def test_decaying_quality_shows_in_thumbs_alone() -> None:
    asked = draw(load(FOLDER, "quality-decay"), STEADY, 1000, 1)
    thumbs = [one.thumb for one in asked if one.thumb]
    assert 330 <= len(thumbs) <= 470
    assert 0.6 <= thumbs.count(-1) / len(thumbs) <= 0.8
    assert {one.question for one in asked} == set(STEADY)


def test_an_outage_takes_its_share_and_comes_last() -> None:
    asked = [one.outage for one in draw(load(FOLDER, "retrieval-outage"), STEADY, 1000, 1)]
    assert 250 <= sum(asked) <= 350
    assert asked == sorted(asked)
    assert not any(one.outage for name in ("steady", "new-topic") for one in draw(load(FOLDER, name), STEADY, 100, 1))


def test_a_scenario_that_is_none_is_told_with_those_there_are_and_a_wrong_key_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--scenario stedy: there is no .*; there are .*steady"):
        load(FOLDER, "stedy")
    (tmp_path / "odd.yaml").write_text("share: 2\n")
    with pytest.raises(UserError, match=r"odd.yaml: is no scenario"):
        load(tmp_path, "odd")
