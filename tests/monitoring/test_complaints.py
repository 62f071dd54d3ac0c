import datetime
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.monitoring import complaints
from tests.monitoring.traffic_rows import (
    NOW,
    feedback,
    request,
    write_feedback,
    write_requests,
)

PASSAGES = [{"chunk_id": "c", "uri": "page.md", "score": 1.0}]


def test_complaints_are_thumbs_down_and_corrections_without_a_review(tmp_path: Path) -> None:
    write_requests(tmp_path, [request(number, retrieved=PASSAGES) for number in range(6)])
    thumb_up = feedback(2, thumb=1)
    correction = feedback(3, thumb=None, correction="No.")
    write_feedback(tmp_path, [feedback(1), thumb_up, correction, feedback(4)])
    long_ago = NOW - datetime.timedelta(days=99)
    write_requests(tmp_path, [request(9, time=long_ago)], "old")
    write_feedback(tmp_path, [feedback(9, time=long_ago)], "old")

    rows = complaints.read(tmp_path, {"q0004"}, NOW)

    assert rows["request_id"].tolist() == ["q0001", "q0003"]
    assert rows["page"].tolist() == ["page.md", "page.md"]


def test_without_feedback_there_are_no_complaints(tmp_path: Path) -> None:
    write_requests(tmp_path, [request(1)])
    assert complaints.read(tmp_path, set(), NOW).empty


def test_complaints_are_not_listed_past_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    write_requests(tmp_path, [request(1)])
    write_feedback(tmp_path, [feedback(1)])
    (tmp_path / "requests/b.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"requests/b.parquet: cannot be read"):
        complaints.read(tmp_path, set(), NOW)
