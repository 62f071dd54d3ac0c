import datetime
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipelines import files
from pipelines.config.monitor import WindowConfig
from pipelines.contracts.window import WINDOW
from pipelines.monitoring import log_files, window
from pipelines.monitoring.log_files import Log
from tests.monitoring.traffic_rows import (
    NOW,
    feedback,
    request,
    write_feedback,
    write_requests,
)

CONFIG = WindowConfig(
    min_requests=30,
    max_requests=100,
    max_gap_hours=24.0,
    clock_tolerance_minutes=10.0,
    max_failed_share=0.5,
    max_same_question_share=0.3,
    max_duplicate_share=0.05,
)
HOSTILE_INPUTS = Path("../shared/data/hostile_inputs/blns/blns.json")
HOSTILE_TEXTS = ["\x00", "\u2028", "🙃", "'; DROP TABLE", "<script>alert(1)</script>", "ﷺ" * 50]


def read_log(folder: Path, rows: list[dict[str, Any]]) -> Log:
    write_requests(folder, rows)
    return log_files.read(folder, None, NOW)


def flatten_all(log: Log) -> pd.DataFrame:
    """The table of a window with all of r-1's rows."""
    return window.flatten(window.unjudged_rows(log, "r-1", set(), CONFIG), log)


def test_a_log_without_rows_has_no_release_and_nothing_to_describe(tmp_path: Path) -> None:
    log = read_log(tmp_path, [])
    assert window.newest_release(log, 30) is None
    assert len(window.describe(log.requests)) == 0
    assert window.check_files(log).passed


def test_an_unreadable_file_fails_the_check_of_the_files(tmp_path: Path) -> None:
    write_requests(tmp_path, [request(1)])
    (tmp_path / "requests/b.parquet").write_bytes(b"PAR1")
    assert not window.check_files(log_files.read(tmp_path, None, NOW)).passed


def test_duplicates_are_counted_among_the_rows_and_are_once_in_the_table(tmp_path: Path) -> None:
    log = read_log(tmp_path, [request(1), request(1), request(2)])
    assert len(window.unjudged_rows(log, "r-1", set(), CONFIG)) == 3
    assert flatten_all(log)["request_id"].tolist() == ["q0001", "q0002"]


def test_a_flood_of_a_question_is_a_share_of_the_window_however_it_is_spelt(
    tmp_path: Path,
) -> None:
    spellings = ["buy now!", "Buy NOW", "buy, now", "BUY now", "buy now", " buy now "]
    rows = [request(number, question=text) for number, text in enumerate(spellings)]
    rows += [request(number) for number in range(6, 10)]
    description = window.describe(read_log(tmp_path, rows).requests)
    assert description["same_question_share"].max() == 0.6


def test_the_last_feedback_counts_with_its_text(tmp_path: Path) -> None:
    later = NOW + datetime.timedelta(seconds=1)
    write_feedback(
        tmp_path,
        [feedback(1, thumb=1), feedback(1, thumb=-1, correction="No.", time=later)],
    )
    table = flatten_all(read_log(tmp_path, [request(1), request(2)]))
    assert table["thumb"].tolist()[0] == -1
    assert table["correction"].tolist()[0] == "No."
    assert table["thumb"].isna().tolist() == [False, True]


def test_retrieval_is_flattened_to_score_gap_and_page(tmp_path: Path) -> None:
    passages = [
        {"chunk_id": "c1", "uri": "handbook/gate.md", "score": 0.75},
        {"chunk_id": "c2", "uri": "b", "score": 0.5},
    ]
    table = flatten_all(read_log(tmp_path, [request(1, retrieved=passages), request(2)]))
    first = table.iloc[0]
    assert (first["best_score"], first["score_gap"]) == (0.75, 0.25)
    assert (first["num_retrieved"], first["top_page"]) == (2, "handbook/gate.md")
    assert table["best_score"].isna().tolist() == [False, True]


def test_a_late_request_belongs_to_the_next_window_and_a_judged_one_to_none(
    tmp_path: Path,
) -> None:
    write_requests(tmp_path, [request(1), request(5)])
    write_requests(tmp_path, [request(3)], "late")
    log = log_files.read(tmp_path, NOW - datetime.timedelta(minutes=594), NOW)
    rows = window.unjudged_rows(log, "r-1", {"q0001", "q0005"}, CONFIG)
    assert rows["request_id"].tolist() == ["q0003"]


def test_the_longest_window_ends_at_the_limit_of_distinct_requests(tmp_path: Path) -> None:
    log = read_log(tmp_path, [request(number // 2) for number in range(240)])
    rows = window.unjudged_rows(log, "r-1", set(), CONFIG)
    assert rows["request_id"].nunique() == 100
    assert rows["request_id"].tolist()[0] == "q0000"


def test_the_release_that_answers_is_the_greater_share_of_the_newest_requests(
    tmp_path: Path,
) -> None:
    rows = []
    for number in range(90):
        is_canary = number > 50 and number % 3
        rows.append(request(number, release_id="r-2" if is_canary else "r-1"))
    log = read_log(tmp_path, rows)
    assert window.newest_release(log, 30) == "r-2"
    assert window.newest_release(log, 90) == "r-1"


def check_that_texts_come_through(folder: Path, texts: list[str]) -> None:
    rows = [request(number, question=text, answer=text) for number, text in enumerate(texts)]
    log = read_log(folder, rows)
    config = CONFIG.model_copy(update={"max_requests": 1000})
    window_rows = window.unjudged_rows(log, "r-1", set(), config)
    table = window.flatten(window_rows, log)
    files.write(folder / "w.parquet", WINDOW, window.arrow_rows(table))
    questions = [row["question"] for row in files.read(folder / "w.parquet", WINDOW)]
    assert questions == texts
    assert len(window.describe(window_rows)) == len(texts)


def test_hostile_strings_come_through_unchanged(tmp_path: Path) -> None:
    check_that_texts_come_through(tmp_path, [*HOSTILE_TEXTS, "   "])


@pytest.mark.skipif(not HOSTILE_INPUTS.exists(), reason="the public list of strings is not here")
def test_a_public_list_of_naughty_strings_comes_through_unchanged(tmp_path: Path) -> None:
    texts = [text for text in json.loads(HOSTILE_INPUTS.read_text()) if text]
    check_that_texts_come_through(tmp_path, texts)
