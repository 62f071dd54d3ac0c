import numpy as np
import pandas as pd
import pytest

from pipelines.contracts.window import WINDOW
from pipelines.encoding import Vectors
from pipelines.monitoring import reference, signals
from pipelines.monitoring.calibration import Numbers
from pipelines.monitoring.signals import Known

DIRECTIONS: Vectors = np.eye(4, dtype=np.float32)
KNOWN = Known(["where?", "weather?"], ["Read it.", "Refused."], np.array([False, True]), np.array([False, True]), DIRECTIONS[:2])


def rows(*changed: dict[str, object]) -> pd.DataFrame:
    good = {"question": "where?", "status": "ok", "request_id": "a", "release_id": "r", "time": "2026-11-21T12:00:00Z"}
    return reference.table_of([{**dict.fromkeys(WINDOW.names), **good, **one} for one in changed])


def column(name: str, table: pd.DataFrame, vectors: Vectors | None = None) -> Numbers:
    found = {one.name: one.values for one in signals.columns(table, DIRECTIONS[: len(table)] if vectors is None else vectors, KNOWN)}
    return found[name]


def test_every_signal_has_a_group_and_a_meaning_and_is_made() -> None:
    table = rows({"top_page": "a", "answer": "x"}, {"top_page": "b", "answer": "y"})
    made = [one.name for one in signals.columns(table, DIRECTIONS[:2], KNOWN)] + [one.name for one in signals.kernels(table, DIRECTIONS[:2], KNOWN)]
    assert sorted(made) == sorted(signals.GROUPS) == sorted(signals.MEANING)


def test_unfamiliarity_grows_with_the_distance_and_equal_distances_are_equally_unfamiliar_wherever_they_stand() -> None:
    found = signals.unfamiliarity(np.array([1.0, 0.2, 1.0, 0.5]))
    assert found[1] > found[3] > found[0] == found[2]


def test_a_signal_that_does_not_apply_to_a_row_is_not_a_number_there() -> None:
    table = rows({"status": "failed"}, {"status": "ok", "refused": True, "num_retrieved": 0, "thumb": -1, "num_guard_flags": 1})
    for name in ("refusals", "empty_results", "thumbs_down", "guard_flags", "groundedness", "best_score"):
        assert np.isnan(column(name, table)[0]), name
    for name in ("refusals", "empty_results", "thumbs_down", "guard_flags"):
        assert column(name, table)[1] == 1.0, name
    assert column("failures", table).tolist() == [1.0, 0.0]


def test_golden_rows_have_no_feedback_and_no_failures() -> None:
    table = reference.golden_table(KNOWN)
    assert table["question"].tolist() == ["weather?"]
    for name in ("corrections", "failures", "thumbs_down", "guard_flags", "latency", "cost"):
        assert np.isnan(column(name, table)).all(), name


def test_out_of_scope_is_what_lies_nearest_to_a_known_refusal() -> None:
    assert column("out_of_scope", rows({}, {})).tolist() == [0.0, 1.0]


def test_agreement_is_judged_on_questions_whose_answer_is_known_and_on_no_others() -> None:
    table = rows({"answer": "read IT"}, {"answer": "Read it."}, {"answer": "Read it."})
    assert column("agreement", table).tolist() == [1.0, 0.0, pytest.approx(np.nan, nan_ok=True)]


def test_pages_and_answers_that_are_missing_are_like_nothing_not_even_one_another() -> None:
    table = rows({"top_page": "a", "answer": "x"}, {"top_page": "b", "answer": "X!"}, {"top_page": "a"}, {})
    kernels = {one.name: one.likeness for one in signals.kernels(table, DIRECTIONS, KNOWN)}
    assert (kernels["answering_pages"] > 0).astype(int).tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert "repeated_answers" not in kernels  # one answer alone cannot come more often


def test_most_questions_decide_which_language_is_another_one() -> None:
    found = signals.other_language(["How do I add documents to the index?", "Where is the verdict of the gate written?", "Wie füge ich dem Verzeichnis neue Dokumente hinzu?"])
    assert found.tolist() == [0.0, 0.0, 1.0]
