import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.monitoring import log_files
from tests.monitoring.traffic_rows import NOW, request, write_requests


def test_an_empty_log_and_a_missing_log_have_no_rows(tmp_path: Path) -> None:
    write_requests(tmp_path / "empty", [])
    for folder in (tmp_path / "missing", tmp_path / "empty"):
        log = log_files.read(folder, None, NOW)
        assert len(log.requests) == 0
        assert log.problems == []


def test_a_half_written_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    write_requests(tmp_path, [request(1)])
    content = (tmp_path / "requests/a.parquet").read_bytes()
    broken = tmp_path / "requests/b.parquet"
    broken.write_bytes(content[: len(content) // 2])

    log = log_files.read(tmp_path, None, NOW)

    assert len(log.requests) == 1
    (problem,) = log.problems
    assert problem.startswith(f"{broken}: cannot be read as Parquet")
    assert broken.exists()


def test_the_differences_of_another_schema_are_named_by_column(tmp_path: Path) -> None:
    path = tmp_path / "requests/b.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"request_id": ["a"], "question": [1]}), path)

    (problem,) = log_files.read(tmp_path, None, NOW).problems

    differences = "time is missing, release_id is missing, tenant is missing"
    assert problem == f"{path}: has another schema ({differences})"


def test_a_clock_that_went_back_and_one_that_runs_ahead_are_measured_in_minutes(
    tmp_path: Path,
) -> None:
    back = request(2, time=NOW - datetime.timedelta(hours=20))
    ahead = request(3, time=NOW + datetime.timedelta(hours=2))
    write_requests(tmp_path, [request(1), back, ahead])

    requests = log_files.read(tmp_path, None, NOW).requests

    assert requests["back_minutes"].tolist() == [0.0, pytest.approx(601.0), 0.0]
    assert requests["ahead_minutes"].max() == pytest.approx(120.0)


def test_files_that_hold_only_long_judged_rows_are_not_read_again(tmp_path: Path) -> None:
    write_requests(tmp_path, [request(1, time=NOW - datetime.timedelta(days=9))], "old")
    write_requests(tmp_path, [request(2)], "new")

    log = log_files.read(tmp_path, NOW - datetime.timedelta(hours=20), NOW)

    assert log.requests["request_id"].tolist() == ["q0002"]
