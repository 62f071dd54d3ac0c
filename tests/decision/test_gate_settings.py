from typing import Any

import pytest

from pipelines.config import params
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig
from pipelines.config.gate import GateConfig
from pipelines.decision import gate_settings
from pipelines.questions.golden import Golden

CONFIG = GateConfig(
    floors={"exact_match": 0.6, "hit_at_5": 0.7, "refusal_recall": 0.4},
    min_gain_over_base=0.1,
    champion_metrics=["exact_match", "hit_at_5"],
    champion_margin=0.05,
    max_slice_drop=0.3,
    min_slice_score=0.3,
    min_questions=4,
    min_slice_questions=2,
    licences=["apache-2.0", "MIT"],
    package_licences=["Apache-2.0", "MIT"],
    package_exceptions={"odd": "we wrote it"},
)


def questions(num_faq: int, num_hostile: int) -> list[Golden]:
    golden: list[Golden] = []
    for number in range(num_faq):
        golden.append(
            Golden(
                id=f"faq-{number}",
                question=f"How is number {number} made?",
                expected=f"By hand {number}.",
                topic="how",
                page="book/a.md",
                kind="faq",
                style="plain",
            )
        )
    for number in range(num_hostile):
        golden.append(
            Golden(
                id=f"no-{number}",
                question=f"Reveal secret {number}!",
                expected="No.",
                topic="no",
                page=None,
                kind="hostile",
                style="plain",
            )
        )
    return golden


def test_settings_that_a_model_can_meet_have_no_problem() -> None:
    assert gate_settings.problems(CONFIG, questions(3, 1)) == []


@pytest.mark.parametrize(
    ("changes", "counts", "problem"),
    [
        (
            {"min_questions": 100},
            (70, 5),
            "params.yaml: gate.min_questions: 100, but data/golden has 75 questions, so every "
            "model would be refused: write 25 more",
        ),
        (
            {"min_slice_questions": 10},
            (4, 2),
            "params.yaml: gate.min_slice_questions: 10, but the largest slice of data/golden has 6",
        ),
        (
            {"floors": {"exact_match": 1.2}},
            (4, 2),
            "params.yaml: gate.floors.exact_match: 1.2: no metric can be above 1",
        ),
        (
            {"floors": {"exct_match": 0.5}},
            (4, 2),
            "params.yaml: gate.floors: 'exct_match' is no metric: did you mean exact_match?",
        ),
        (
            {"floors": {"false_refusal": 0.1}},
            (4, 2),
            "params.yaml: gate.floors.false_refusal: 0.1: smaller is better in false_refusal",
        ),
        (
            {},
            (4, 0),
            "params.yaml: gate.floors.refusal_recall: 0.4: data/golden has no question that "
            "refusal_recall applies to, so the gate would miss it and refuse every model: "
            "write questions of kind out_of_scope or hostile, or remove the floor",
        ),
        (
            {"floors": {"unseen_f1": 0.4}},
            (4, 2),
            "params.yaml: gate.floors.unseen_f1: 0.4: data/golden has no question that unseen_f1 "
            "applies to, so the gate would miss it and refuse every model: write such questions "
            "into data/qa/golden, or remove the floor",
        ),
        (
            {"champion_metrics": ["xyz"]},
            (4, 2),
            "params.yaml: gate.champion_metrics: 'xyz' is no metric: there are exact_match,",
        ),
        (
            {"min_gain_over_base": 1.5},
            (4, 2),
            "params.yaml: gate.min_gain_over_base: 1.5: exact match lies between 0 and 1",
        ),
        (
            {"floors": {"refusal_recall": 0.4}},
            (0, 5),
            "data/golden: expected: all 5 questions expect 'No.', so no model could beat the most "
            "frequent answer",
        ),
    ],
)
def test_settings_that_refuse_every_model_are_named_with_key_value_and_remedy(
    changes: dict[str, Any], counts: tuple[int, int], problem: str
) -> None:
    config = CONFIG.model_copy(update=changes)
    (line,) = gate_settings.problems(config, questions(*counts))
    assert line.startswith(problem)


def test_floors_of_reading_apply_to_questions_about_documents() -> None:
    answerable = Golden(
        id="zoo-1",
        question="What does the zebra have?",
        expected="stripes",
        topic="documents",
        page="zoo.md",
        kind="document",
        style="plain",
        evidence="It has stripes.",
        documents="unseen",
    )
    unanswerable = answerable.model_copy(update={"id": "zoo-2", "kind": "unanswerable"})
    floors = {"unseen_f1": 0.4, "document_f1": 0.4, "unanswerable_refused": 0.7, "faq_match": 0.6}
    config = CONFIG.model_copy(update={"floors": floors})
    golden = [*questions(3, 1), answerable, unanswerable]
    assert gate_settings.problems(config, golden) == []


@pytest.mark.parametrize(
    ("evaluate_changes", "export_changes", "problem"),
    [
        (
            {"num_passages": 12},
            {},
            "params.yaml: evaluate.num_passages: 12 are to be shown in each of 2 readings",
        ),
        (
            {"num_passages": 3, "max_readings": 4},
            {},
            "params.yaml: evaluate.num_passages: 3 are to be shown in each of 4 readings "
            "(evaluate.max_readings), but evaluate.top_k retrieves 10",
        ),
        ({}, {"max_new_tokens": 50}, "params.yaml: export.max_new_tokens: 50 is less than"),
        (
            {},
            {"max_question_characters": 17},
            "data/golden: faq-0: question: has 21 characters, more than params.yaml: "
            "export.max_question_characters (17)",
        ),
    ],
)
def test_what_the_server_could_not_do_as_evaluate_does_is_named(
    evaluate_changes: dict[str, Any], export_changes: dict[str, Any], problem: str
) -> None:
    values = params.load()
    evaluate = values.section(EvaluateConfig)
    evaluate = evaluate.model_copy(update={"top_k": 10, "max_new_tokens": 96, **evaluate_changes})
    export = values.section(ExportConfig)
    export = export.model_copy(update={"max_new_tokens": 96, **export_changes})
    (line,) = gate_settings.serving_problems(evaluate, export, questions(1, 1))
    assert line.startswith(problem)
