"""Comparing two releases on the same questions."""

import pytest

from pipelines.config.shadow import ShadowConfig
from pipelines.errors import Refusal
from pipelines.serving import paired_judgement
from pipelines.serving import release_comparison as comparing
from pipelines.serving.declarations import NOTHING
from pipelines.serving.live_comparison import Judgement
from pipelines.serving.paired_comparison import Pair, PairedComparison
from pipelines.serving.release_comparison import Declaration, Measure
from tests.serving.pairs import ANSWER, pairs
from tests.serving.routed_rows import CONFIG, Change, every

SHADOW = ShadowConfig(
    replay=100, share=0.0, min_pairs=20, max_seconds=60.0, false_refusal_rate=0.01
)
FAILURE = {"status": "failed", "answer": None, "groundedness": None}


def compare(answers: list[Pair], declaration: Declaration = NOTHING) -> PairedComparison:
    comparison = PairedComparison(comparing.limits(CONFIG, declaration), CONFIG.max_asker_share)
    for pair in answers:
        comparison.add(pair)
    return comparison


def judge(comparison: PairedComparison) -> Judgement:
    return paired_judgement.judge(comparison, SHADOW, CONFIG)


def failures(comparison: PairedComparison) -> list[str]:
    return [check.name for check in judge(comparison).report.failures()]


def test_an_equal_release_is_soon_known_to_be_harmless() -> None:
    judgement = judge(compare(pairs(100)))
    assert judgement.report.passed
    assert judgement.gaps == []


def test_what_so_few_pairs_cannot_rule_out_is_said() -> None:
    judgement = judge(compare(pairs(5)))
    assert judgement.report.passed
    assert any("10% more is not ruled out" in gap for gap in judgement.gaps)
    assert all("after 5 pairs" in gap for gap in judgement.gaps)


@pytest.mark.parametrize(
    ("change", "name", "remedy"),
    [
        (every(5, **FAILURE), "failed requests", "server.log"),
        (every(1, total_ms=400.0), "time to the answer", "--expect-latency-ratio"),
        (every(3, refused=True), "refusing answers", "--expect-refused-increase"),
        (every(1, groundedness=0.5), "lack of groundedness", "canary.limits.groundedness"),
    ],
)
def test_each_way_of_being_worse_is_found_alone_with_questions_and_remedy(
    change: Change, name: str, remedy: str
) -> None:
    comparison = compare(pairs(120, change))
    assert failures(comparison) == [name]
    with pytest.raises(Refusal) as caught:
        judge(comparison).report.demand("the shadow", "Nothing changes.")
    assert remedy in str(caught.value)
    assert "e.g. question 0?" in str(caught.value)
    assert ".state/serving/shadow.jsonl" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "declaration"),
    [
        (every(1, total_ms=400.0), Declaration(latency_ratio=5.0)),
        (every(5, refused=True), Declaration(refused_increase=0.3)),
    ],
)
def test_what_was_declared_is_tolerated_and_no_more(
    change: Change, declaration: Declaration
) -> None:
    assert failures(compare(pairs(300, change))) != []
    assert failures(compare(pairs(300, change), declaration)) == []
    worse = every(1, total_ms=900.0, refused=True)
    assert failures(compare(pairs(300, worse), declaration)) != []


def test_releases_that_fail_and_refuse_on_the_same_questions_do_not_differ() -> None:
    """A canary would have to wait until chance has given both as many hard questions."""
    answers: list[Pair] = []
    for pair in pairs(120):
        changes = FAILURE if len(answers) % 2 else {"refused": True, "groundedness": None}
        answers.append(
            Pair(pair.question, "default", {**pair.old, **changes}, {**pair.new, **changes})
        )
    comparison = compare(answers)
    assert failures(comparison) == []
    assert comparison.bets[Measure.REFUSALS].harmless.log_odds() > 3


def test_one_tenants_questions_do_not_decide_alone_what_judges_the_answers() -> None:
    change = every(1, refused=True)
    many_tenants: list[Pair] = []
    for number, pair in enumerate(pairs(30, change)):
        many_tenants.append(pair._replace(tenant=f"tenant {number % 10}"))
    heavy = compare(pairs(30, change, tenant="shop"))
    spread = compare(many_tenants)
    assert failures(spread) == ["refusing answers"]
    assert (
        heavy.bets[Measure.REFUSALS].worse.log_odds()
        < 0.5 * spread.bets[Measure.REFUSALS].worse.log_odds()
    )


def test_agreement_length_tokens_and_flags_are_described() -> None:
    longer = {"answer": ANSWER["answer"] * 2, "num_new_tokens": 16, "guard_flags": ["unsure"]}
    text = compare(pairs(20, every(2, **longer))).descriptions.describe()
    assert "20 pairs; the same words in 50% of 20 answers" in text
    assert "typically 1.41 times as long with 1.41 times as many tokens" in text
    assert "10 flagged by the new release alone, 0 by the old one alone" in text


def test_a_release_that_never_answers_is_described_too() -> None:
    text = compare(pairs(3, every(1, **FAILURE))).descriptions.describe()
    assert text == "3 pairs, none of them answered by both"


def test_every_look_at_the_evidence_is_kept() -> None:
    looks = compare(pairs(30)).looks[Measure.FAILURES]
    assert [look.num_pairs for look in looks] == list(range(1, 31))
    assert looks[-1].harmless > looks[0].harmless
