import numpy as np
import pandas as pd
import pytest

from pipelines.contracts.window import WINDOW
from pipelines.monitoring import reference, signals
from pipelines.monitoring.calibration import Numbers
from pipelines.monitoring.signals import KnownQuestions
from pipelines.vectorstore import Vectors

DIRECTIONS: Vectors = np.eye(4, dtype=np.float32)
KNOWN_QUESTIONS = KnownQuestions(
    questions=["where?", "weather?"],
    answers=["Read it.", "Refused."],
    refusal=np.array([False, True]),
    golden=np.array([False, True]),
    vectors=DIRECTIONS[:2],
)
NOT_A_NUMBER = pytest.approx(np.nan, nan_ok=True)


def rows(*changes: dict[str, object]) -> pd.DataFrame:
    """A row for each of these changes to an ordinary one."""
    ordinary: dict[str, object] = dict.fromkeys(WINDOW.names)
    ordinary |= {"question": "where?", "status": "ok", "request_id": "a", "release_id": "r"}
    ordinary["time"] = "2026-11-21T12:00:00Z"
    return reference.table_of([ordinary | change for change in changes])


def column(name: str, table: pd.DataFrame) -> Numbers:
    vectors = DIRECTIONS[: len(table)]
    columns = signals.columns(table, vectors, KNOWN_QUESTIONS)
    (match,) = [item for item in columns if item.name == name]
    return match.values


def test_every_signal_has_a_kind_and_is_computed() -> None:
    table = rows({"top_page": "a", "answer": "x"}, {"top_page": "b", "answer": "y"})
    columns = signals.columns(table, DIRECTIONS[:2], KNOWN_QUESTIONS)
    kernels = signals.kernels(table, DIRECTIONS[:2], KNOWN_QUESTIONS)
    names = [item.name for item in columns]
    names += [item.name for item in kernels]
    assert sorted(names) == sorted(signals.KINDS)


def test_unfamiliarity_grows_with_the_distance_and_is_equal_for_equal_distances() -> None:
    unfamiliarity = signals.unfamiliarity(np.array([1.0, 0.2, 1.0, 0.5]))
    assert unfamiliarity[1] > unfamiliarity[3] > unfamiliarity[0] == unfamiliarity[2]


def test_a_signal_that_does_not_apply_to_a_row_is_not_a_number_there() -> None:
    table = rows(
        {"status": "failed"},
        {"status": "ok", "refused": True, "num_retrieved": 0, "thumb": -1, "num_guard_flags": 1},
    )
    for name in ("refusals", "empty_results", "thumbs_down", "guard_flags"):
        assert np.isnan(column(name, table)[0]), name
        assert column(name, table)[1] == 1.0, name
    for name in ("groundedness", "best_score"):
        assert np.isnan(column(name, table)[0]), name
    assert column("failures", table).tolist() == [1.0, 0.0]


def test_golden_rows_have_no_feedback_and_no_failures() -> None:
    table = reference.golden_table(KNOWN_QUESTIONS)
    assert table["question"].tolist() == ["weather?"]
    for name in ("corrections", "failures", "thumbs_down", "guard_flags", "latency", "cost"):
        assert np.isnan(column(name, table)).all(), name


def test_out_of_scope_is_what_lies_nearest_to_a_known_refusal() -> None:
    assert column("out_of_scope", rows({}, {})).tolist() == [0.0, 1.0]


def test_agreement_is_judged_only_on_questions_whose_answer_is_known() -> None:
    table = rows({"answer": "read IT"}, {"answer": "Read it."}, {"answer": "Read it."})
    assert column("agreement", table).tolist() == [1.0, 0.0, NOT_A_NUMBER]


def test_missing_pages_and_answers_equal_nothing_not_even_each_other() -> None:
    table = rows(
        {"top_page": "a", "answer": "x"},
        {"top_page": "b", "answer": "X!"},
        {"top_page": "a"},
        {},
    )
    kernels = signals.kernels(table, DIRECTIONS, KNOWN_QUESTIONS)
    similarity = {kernel.name: kernel.similarity for kernel in kernels}
    assert (similarity["answering_pages"] > 0).astype(int).tolist() == [
        [1, 0, 1, 0],
        [0, 1, 0, 0],
        [1, 0, 1, 0],
        [0, 0, 0, 0],
    ]
    assert "repeated_answers" not in similarity  # a single answer cannot come more often


def test_the_language_of_most_questions_is_the_usual_one() -> None:
    is_other = signals.other_language(
        [
            "How do I add documents to the index?",
            "Where is the verdict of the gate written?",
            "Wie füge ich dem Verzeichnis neue Dokumente hinzu?",
        ]
    )
    assert is_other.tolist() == [0.0, 0.0, 1.0]
