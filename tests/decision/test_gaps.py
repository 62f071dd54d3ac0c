from pipelines.contracts.scores import CANDIDATE, NEAREST, Interval, Scores, System
from pipelines.decision import gaps


def scores(num_by_metric: dict[str, int], num_reading: int) -> Scores:
    def interval(num: int) -> Interval:
        return Interval(value=0.5, low=0.4, high=0.6, num=num)

    metrics = {name: interval(num) for name, num in num_by_metric.items()}
    slices = {"topic:reading": interval(num_reading)} if num_reading else {}
    return Scores(
        candidate="c",
        champion=None,
        num_questions=100,
        golden_digest="g",
        systems={
            CANDIDATE: System(metrics=metrics, slices=slices),
            NEAREST: System(metrics={}, slices={}),
        },
        differences={},
    )


def test_nothing_is_said_where_every_subject_has_questions() -> None:
    enough = dict.fromkeys(gaps.SUBJECTS, 40)
    assert gaps.find(scores(enough, num_reading=0)) == []


def test_a_set_without_own_questions_is_told_how_far_its_verdict_reaches() -> None:
    own = {"hit_at_5": 0, "document_f1": 250, "unanswerable_refused": 80, "refusal_recall": 100}
    reading, retrieval, first = gaps.find(scores(own, num_reading=330))
    assert reading.startswith("answers about your documents: 330 of the golden questions are")
    assert retrieval.startswith("whether retrieval finds the right page")
    assert "python -m pipelines draft" in first


def test_too_few_questions_are_a_gap_as_well() -> None:
    few = dict.fromkeys(gaps.SUBJECTS, 40) | {"unanswerable_refused": 3}
    gap, _ = gaps.find(scores(few, num_reading=0))
    assert gap.endswith("(3 questions)")


def test_a_model_that_is_shown_no_passages_is_not_said_to_lack_questions_about_documents() -> None:
    own = scores({"hit_at_5": 255, "refusal_recall": 45}, num_reading=0)
    by_heart = own.model_copy(update={"systems": {CANDIDATE: own.systems[CANDIDATE]}})
    assert gaps.find(by_heart) == []
