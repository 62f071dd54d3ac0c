"""What the gate says that it could have seen, against many simulated candidates."""

import math

import numpy as np
import pytest

from pipelines.config.gate import GateConfig
from pipelines.contracts.scores import CANDIDATE, CHAMPION, Interval, Scores, System
from pipelines.decision import power, question_counts
from pipelines.questions.golden import Golden

CONFIG = GateConfig(
    floors={"exact_match": 0.6, "refusal_recall": 0.4},
    min_gain_over_base=0.1,
    champion_metrics=["exact_match"],
    champion_margin=0.08,
    max_slice_drop=0.3,
    min_slice_score=0.1,
    min_questions=100,
    min_slice_questions=10,
    licences=["apache-2.0", "MIT"],
    package_licences=["Apache-2.0", "MIT"],
    package_exceptions={"odd": "we wrote it"},
)


def scores(half_width: float) -> Scores:
    match = Interval(value=0.8, low=0.8 - half_width, high=0.8 + half_width, num=300)
    gain = Interval(value=0.0, low=-half_width, high=half_width, num=300)
    return Scores(
        candidate="c",
        champion="r-1",
        num_questions=300,
        golden_digest="g",
        systems={CANDIDATE: System(metrics={"exact_match": match}, slices={})},
        differences={CHAMPION: {"exact_match": gain}},
    )


def golden(num_topics: int, num_wordings: int) -> list[Golden]:
    questions: list[Golden] = []
    for topic in range(num_topics):
        for number in range(num_wordings):
            questions.append(
                Golden(
                    id=f"{topic}-{number}",
                    question=f"{topic} {number}?",
                    expected=f"answer {topic}",
                    topic=f"t{topic}",
                    page=f"p{topic}",
                    kind="faq",
                    style="plain",
                )
            )
    return questions


def test_the_verdict_says_what_its_rules_find_and_how_often_they_err() -> None:
    assert power.describe(CONFIG, scores(0.05)) == [
        "exact_match, 300 questions: a model passes the floor 0.6 8 times of 10 at 0.68, and "
        "1 time of 37 at 0.6",
        "exact_match against the champion, 300 questions: a drop of 0.051 is found 8 times of 10, "
        "and a model that is as good, but as different topic by topic, is refused 1 time of 8",
    ]


def test_a_metric_in_which_all_answers_are_alike_promises_nothing() -> None:
    alike = Interval(value=1.0, low=1.0, high=1.0, num=300)
    result = System(metrics={"exact_match": alike}, slices={})
    [line, _] = power.describe(
        CONFIG, scores(0.05).model_copy(update={"systems": {CANDIDATE: result}})
    )
    assert line.endswith("all are alike, so how often a model passes the floor 0.6 is open")


@pytest.mark.parametrize(("floor", "num"), [(0.6, 300), (0.9, 400), (0.95, 800), (0.2, 400)])
def test_the_promise_about_floors_holds_within_3_points_also_near_the_ends(
    floor: float, num: int
) -> None:
    generator = np.random.default_rng(7)
    for level, promise in (
        (power.level_that_passes(floor, num), 0.8),
        (floor, power.chance_at_floor(floor, num)),
    ):
        shares = generator.binomial(num, level, size=3000) / num
        resampled = generator.binomial(num, shares, size=(1000, 3000)) / num
        ends = np.percentile(resampled, 2.5, axis=0)
        assert np.mean(ends >= floor) == pytest.approx(promise, abs=0.03)


def test_a_difference_that_one_topic_makes_is_said_to_be_hard_to_judge() -> None:
    line = power.describe(CONFIG, scores(0.12))[-1]
    assert line.endswith("topic by topic, is refused more often than not")


@pytest.mark.parametrize("num_questions", [150, 300, 1000])
def test_the_promise_about_drops_holds_within_3_points(num_questions: int) -> None:
    generator = np.random.default_rng(7)
    spread = 0.19  # of the differences between two models, each -1, 0 or 1
    error = math.sqrt(spread / num_questions)
    drop = CONFIG.champion_margin - (power.END - power.EIGHT_OF_TEN) * error
    chances = [(spread + drop) / 2, 1 - spread, (spread - drop) / 2]
    draws = generator.choice([-1.0, 0.0, 1.0], p=chances, size=(4000, num_questions))
    ends = draws.mean(axis=1) - power.END * draws.std(axis=1) / math.sqrt(num_questions)
    assert np.mean(ends < -CONFIG.champion_margin) == pytest.approx(0.8, abs=0.03)


def test_what_so_few_questions_cannot_tell_is_named_with_how_many_would_do() -> None:
    [margin] = question_counts.warnings(CONFIG, golden(20, 5))
    assert "gate.champion_margin: 0.08 cannot be told in exact_match with 100" in margin
    num = int(margin.split("refused. ")[1].split(" ")[0])
    assert question_counts.warnings(CONFIG, golden(math.ceil(num / 5), 5)) == []


def test_a_floor_that_only_a_far_better_model_passes_often_is_named() -> None:
    high = CONFIG.model_copy(update={"floors": {"hit_at_5": 0.9}, "champion_metrics": []})
    [floor] = question_counts.warnings(high, golden(20, 2))
    assert "gate.floors.hit_at_5: 0.9 cannot be told with 40 golden questions" in floor
    assert "only a model of 0.982 or better passes 8 times of 10" in floor
    assert question_counts.warnings(high, golden(60, 2)) == []


def test_wordings_of_one_question_count_for_less_than_questions() -> None:
    [few] = question_counts.warnings(CONFIG, golden(40, 5))
    assert "with 200" in few
    assert question_counts.warnings(CONFIG, golden(250, 1)) == []
