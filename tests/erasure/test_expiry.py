"""What is older or larger than params.yaml allows goes; everything else stays as it is."""

import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines import files
from pipelines.config.retention import RetentionConfig
from pipelines.contracts.window import WINDOW
from pipelines.erasure import expiry
from pipelines.errors import UserError
from pipelines.monitoring import cycle, decisions, log_files
from pipelines.monitoring.window import TRAFFIC, WINDOWS
from pipelines.system import cache
from tests.monitoring.test_decisions import decision
from tests.monitoring.traffic_rows import (
    NOW,
    feedback,
    request,
    write_feedback,
    write_requests,
)

YEAR = RetentionConfig(traffic_days=365, cache_megabytes=None)
LONG_AGO = NOW - datetime.timedelta(days=366)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_window(name: str, times: list[datetime.datetime]) -> None:
    rows = []
    for number, time in enumerate(times):
        row = request(number, time=time)
        rows.append({column: row.get(column) for column in WINDOW.names})
    files.write(WINDOWS / f"{name}.parquet", WINDOW, rows)


def ids(path: Path) -> list[str]:
    values: list[str] = pq.read_table(path).column("request_id").to_pylist()
    return values


def test_old_requests_go_with_their_feedback_and_their_rows_in_windows(clone: Path) -> None:
    write_requests(TRAFFIC, [request(1, time=LONG_AGO), request(2)], "mixed")
    write_requests(TRAFFIC, [request(3, time=LONG_AGO)], "old")
    write_requests(TRAFFIC, [request(4)], "new")
    write_feedback(TRAFFIC, [feedback(1, time=LONG_AGO), feedback(2)])
    write_window("w-1", [LONG_AGO, NOW])
    new_file = TRAFFIC / "requests/new.parquet"
    before = new_file.stat().st_mtime_ns

    counts = expiry.remove_expired(YEAR, NOW)
    assert counts == {
        "windows of monitoring": 1,
        "traffic log, feedback": 1,
        "traffic log, requests": 2,
    }
    assert ids(TRAFFIC / "requests/mixed.parquet") == ["q0002"]
    assert not (TRAFFIC / "requests/old.parquet").exists()
    assert new_file.stat().st_mtime_ns == before, "a file without old rows is left alone"
    assert ids(TRAFFIC / "feedback/a.parquet") == ["q0002"]
    assert ids(WINDOWS / "w-1.parquet") == ["q0001"]
    log = log_files.read(TRAFFIC, None, NOW + datetime.timedelta(days=1))
    assert log.problems == [], "what was rewritten is still a log"
    assert sorted(log.requests["request_id"]) == ["q0002", "q0004"]
    assert expiry.remove_expired(YEAR, NOW) == {}


def test_without_a_limit_everything_stays(clone: Path) -> None:
    write_requests(TRAFFIC, [request(1, time=LONG_AGO)])
    config = RetentionConfig(traffic_days=None, cache_megabytes=None)
    assert expiry.remove_expired(config, NOW) == {}
    assert ids(TRAFFIC / "requests/a.parquet") == ["q0001"]


def test_a_file_that_cannot_be_read_is_named_and_nothing_counts_as_done(clone: Path) -> None:
    write_requests(TRAFFIC, [request(1)])
    (TRAFFIC / "requests/b.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(UserError, match=r"b\.parquet: cannot be read as Parquet"):
        expiry.remove_expired(YEAR, NOW)


def test_a_baseline_whose_rows_are_gone_is_no_baseline(clone: Path) -> None:
    unread: Any = None  # of the known questions, which only the golden baseline needs
    write_window("w-1", [LONG_AGO])
    write_window("w-2", [NOW])
    record = decisions.Record(
        [decision(window="w-1", accepted=True), decision(window="w-2", accepted=True)], []
    )
    assert cycle._baseline("r-1", record, unread).name == "w-1, w-2"
    expiry.remove_expired(YEAR, NOW)
    assert cycle._baseline("r-1", record, unread).name == "w-2"


def test_a_cache_that_has_grown_too_large_is_emptied(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "MEGABYTE", 1000)
    config = RetentionConfig(traffic_days=None, cache_megabytes=100)
    path = Path(".state/work.sqlite")
    with cache.open_cache(path, "kind") as work:
        work.put({"small": "x"})
    assert expiry.remove_expired(config, NOW) == {}
    with cache.open_cache(path, "kind") as work:
        work.put({str(number): list(range(1000)) for number in range(100)})
    assert path.stat().st_size > 100_000
    assert expiry.remove_expired(config, NOW) == {"cache .state/work.sqlite": 101}
    assert path.stat().st_size < 100_000
    with cache.open_cache(path, "kind") as work:
        assert work.get("small") is None
        work.put({"small": "y"})
        assert work.get("small") == "y"
