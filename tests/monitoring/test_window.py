import datetime
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import files
from pipelines.config.monitor import WindowConfig
from pipelines.contracts.traffic import FEEDBACK, REQUESTS
from pipelines.contracts.window import WINDOW
from pipelines.errors import UserError
from pipelines.monitoring import window

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
CONFIG = WindowConfig(min_requests=30, max_requests=100, max_gap_hours=24.0, clock_tolerance_minutes=10.0, max_failed_share=0.5, max_same_question_share=0.3, max_duplicate_share=0.05)


def request(number: int, **changed: Any) -> dict[str, Any]:
    good = dict.fromkeys(REQUESTS.names) | {
        "request_id": f"q{number:04}", "time": NOW - datetime.timedelta(minutes=600 - number), "release_id": "r-1", "tenant": "default", "question": f"Question {number}?", "retrieved": [], "answer": "Yes.",
        "status": "ok", "refused": False, "guard_flags": [], "num_prompt_tokens": 5, "num_new_tokens": 3, "total_ms": 20.0, "cost": 0.0,
    }  # fmt: skip
    return good | changed


def feedback(number: int, **changed: Any) -> dict[str, Any]:
    return {"request_id": f"q{number:04}", "time": NOW, "who": "ada", "thumb": -1, "correction": None, "comment": None} | changed


def log(folder: Path, rows: list[dict[str, Any]], name: str = "a", said: list[dict[str, Any]] | None = None) -> window.Log:
    write(folder, rows, name, said)
    return window.read(folder, None, NOW)


def write(folder: Path, rows: list[dict[str, Any]], name: str = "a", said: list[dict[str, Any]] | None = None) -> None:
    files.write(folder / f"requests/{name}.parquet", REQUESTS, rows)
    os.utime(folder / f"requests/{name}.parquet", (NOW.timestamp(), NOW.timestamp()))
    if said:
        files.write(folder / f"feedback/{name}.parquet", FEEDBACK, said)


def test_an_empty_log_and_a_missing_one_have_no_rows_and_no_release(tmp_path: Path) -> None:
    for found in (window.read(tmp_path / "none", None, NOW), log(tmp_path, [])):
        assert len(found.requests) == 0
        assert window.newest_release(found, 30) is None
        assert len(window.described(found.requests, NOW)) == 0
        assert window.readable(found).passed


def test_a_half_written_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path, [request(1)])
    whole = (tmp_path / "requests/a.parquet").read_bytes()
    (tmp_path / "requests/b.parquet").write_bytes(whole[: len(whole) // 2])
    found = window.read(tmp_path, None, NOW)
    assert len(found.requests) == 1
    assert not window.readable(found).passed
    assert found.problems[0].startswith(f"{tmp_path}/requests/b.parquet: cannot be read as Parquet")
    assert (tmp_path / "requests/b.parquet").exists()


def test_rows_of_another_schema_are_told_by_column(tmp_path: Path) -> None:
    (tmp_path / "requests").mkdir()
    pq.write_table(pa.table({"request_id": ["a"], "question": [1]}), tmp_path / "requests/b.parquet")
    assert window.read(tmp_path, None, NOW).problems[0].startswith(f"{tmp_path}/requests/b.parquet: is of another schema (time is missing, release_id is missing, tenant is missing)")


def test_a_clock_that_went_back_and_one_that_runs_ahead_are_seen_in_minutes(tmp_path: Path) -> None:
    rows = [request(1), request(2, time=NOW - datetime.timedelta(hours=20)), request(3, time=NOW + datetime.timedelta(hours=2))]
    seen = window.described(log(tmp_path, rows).requests, NOW)
    assert seen["back_minutes"].tolist() == [0.0, pytest.approx(601.0), 0.0]
    assert seen["ahead_minutes"].max() == pytest.approx(120.0)


def test_duplicates_are_counted_among_the_rows_and_held_once_in_the_table(tmp_path: Path) -> None:
    found = log(tmp_path, [request(1), request(1), request(2)])
    rows = window.unjudged(found, "r-1", set(), CONFIG)
    assert len(rows) == 3
    assert window.table(rows, found)["request_id"].tolist() == ["q0001", "q0002"]


def test_a_flood_of_one_question_is_a_share_of_the_window_however_it_is_spelt(tmp_path: Path) -> None:
    rows = [request(number, question="buy now!" if number % 2 else "Buy NOW") for number in range(6)] + [request(number) for number in range(6, 10)]
    assert window.described(log(tmp_path, rows).requests, NOW)["same_question_share"].max() == 0.6


def test_the_last_feedback_counts_and_its_text_stays_with_it(tmp_path: Path) -> None:
    said = [feedback(1, thumb=1), feedback(1, thumb=-1, correction="No.", time=NOW + datetime.timedelta(seconds=1))]
    found = log(tmp_path, [request(1), request(2)], said=said)
    table = window.table(window.unjudged(found, "r-1", set(), CONFIG), found)
    assert table["thumb"].tolist()[0] == -1
    assert table["correction"].tolist()[0] == "No."
    assert table["thumb"].isna().tolist() == [False, True]


def test_retrieval_is_flattened_to_score_gap_and_page(tmp_path: Path) -> None:
    passages = [{"chunk_id": "c1", "uri": "handbook/gate.md", "score": 0.75}, {"chunk_id": "c2", "uri": "b", "score": 0.5}]
    found = log(tmp_path, [request(1, retrieved=passages), request(2)])
    table = window.table(window.unjudged(found, "r-1", set(), CONFIG), found)
    assert [table[name].tolist()[0] for name in ("best_score", "score_gap", "num_retrieved", "top_page")] == [0.75, 0.25, 2, "handbook/gate.md"]
    assert table["best_score"].isna().tolist() == [False, True]


def test_a_request_that_was_logged_late_belongs_to_the_next_window_and_a_judged_one_to_none(tmp_path: Path) -> None:
    write(tmp_path, [request(1), request(5)])
    write(tmp_path, [request(3)], "late")
    found = window.read(tmp_path, NOW - datetime.timedelta(minutes=594), NOW)
    assert window.unjudged(found, "r-1", {"q0001", "q0005"}, CONFIG)["request_id"].tolist() == ["q0003"]


def test_files_that_hold_long_judged_rows_alone_are_not_read_again(tmp_path: Path) -> None:
    write(tmp_path, [request(1, time=NOW - datetime.timedelta(days=9))], "old")
    write(tmp_path, [request(2)], "new")
    assert window.read(tmp_path, NOW - datetime.timedelta(hours=20), NOW).requests["request_id"].tolist() == ["q0002"]


def test_the_longest_window_ends_at_the_limit_of_distinct_requests(tmp_path: Path) -> None:
    rows = window.unjudged(log(tmp_path, [request(number // 2) for number in range(240)]), "r-1", set(), CONFIG)
    assert rows["request_id"].nunique() == 100
    assert rows["request_id"].tolist()[0] == "q0000"


def test_the_release_that_answers_is_the_greater_share_of_the_newest_requests(tmp_path: Path) -> None:
    found = log(tmp_path, [request(number, release_id="r-2" if number > 50 and number % 3 else "r-1") for number in range(90)])
    assert window.newest_release(found, 30) == "r-2"
    assert window.newest_release(found, 90) == "r-1"


def test_hostile_strings_come_through_whole(tmp_path: Path) -> None:
    path = Path("../shared/data/hostile_inputs/blns/blns.json")
    hostile = ["\x00", "\u2028", "🙃", "'; DROP TABLE", "<script>alert(1)</script>", "ﷺ" * 50, "   "]
    if path.exists():
        import json

        hostile += [text for text in json.loads(path.read_text()) if text]
    found = log(tmp_path, [request(number, question=text, answer=text) for number, text in enumerate(hostile)])
    rows = window.unjudged(found, "r-1", set(), CONFIG.model_copy(update={"max_requests": 1000}))
    files.write(tmp_path / "w.parquet", WINDOW, window.arrow_rows(window.table(rows, found)))
    assert [row["question"] for row in files.read(tmp_path / "w.parquet", WINDOW)] == hostile
    assert len(window.described(rows, NOW)) == len(hostile)


def test_complaints_are_thumbs_down_and_corrections_without_a_review(tmp_path: Path) -> None:
    said = [feedback(1), feedback(2, thumb=1), feedback(3, thumb=None, correction="No."), feedback(4)]
    write(tmp_path, [request(number, retrieved=[{"chunk_id": "c", "uri": "page.md", "score": 1.0}]) for number in range(6)], said=said)
    write(tmp_path, [request(9, time=NOW - datetime.timedelta(days=99))], "old", [feedback(9, time=NOW - datetime.timedelta(days=99))])
    found = window.complaints(tmp_path, {"q0004"}, NOW)
    assert found["request_id"].tolist() == ["q0001", "q0003"]
    assert found["page"].tolist() == ["page.md", "page.md"]


def test_complaints_are_not_listed_past_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, [request(1)], said=[feedback(1)])
    (tmp_path / "requests/b.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"requests/b.parquet: cannot be read"):
        window.complaints(tmp_path, set(), NOW)
