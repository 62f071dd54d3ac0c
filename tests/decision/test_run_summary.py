import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.decision import run_summary
from pipelines.errors import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(path: str, content: dict[str, Any]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content))


def test_before_the_first_run_the_summary_says_what_is_missing() -> None:
    summary = run_summary.write(["ingest"])
    assert "documents   none; validation: not run" in summary
    assert "0 s in all" in summary
    assert "verdict" not in summary
    assert "STOPPED" not in summary


def test_documents_are_counted_by_the_code_of_the_check_and_not_by_its_name() -> None:
    checks = [
        {"name": "text is not empty", "observed": "0 rows"},
        {"name": "renamed", "observed": "12", "code": "num_documents"},
    ]
    save("data/reports/validation.json", {"reason": "all 2 checks passed", "checks": checks})
    assert "documents   12; validation: all 2 checks passed" in run_summary.write([])


def test_rejections_and_redactions_are_counted_by_kind_without_zeros() -> None:
    save("data/reports/ingestion.json", {"rejected": 3, "rejected_at": {"source": 1, "convert": 2}})
    types = {"EMAIL_ADDRESS": 4, "PHONE_NUMBER": 0}
    save("data/reports/redaction.json", {"documents_changed": 2, "by_type": types})
    summary = run_summary.write([])
    assert "rejected    3 (1 at source, 2 at convert): data/rejections.parquet says" in summary
    assert "redacted    4 EMAIL_ADDRESS in 2 documents" in summary


def test_a_release_is_shown_only_if_the_verdict_is_about_it_and_accepts_it() -> None:
    save("models/triton/release.json", {"release_id": "r-1", "adapter": "c1"})
    save("data/reports/verdict.json", {"accepted": True, "candidate": "c1", "reason": "good"})
    assert "release     r-1 in models/triton" in run_summary.write([])
    save("data/reports/verdict.json", {"accepted": True, "candidate": "c2", "reason": "good"})
    assert "release     r-1" not in run_summary.write([])
    save("data/reports/verdict.json", {"accepted": False, "candidate": "c1", "reason": "bad"})
    assert "release     r-1" not in run_summary.write([])


def test_only_stages_that_ran_since_then_count_their_seconds() -> None:
    save(".state/seconds/ingest.json", {"seconds": 7.4, "ended": 100.0})
    save(".state/seconds/chunk.json", {"seconds": 2.0, "ended": 200.0})
    summary = run_summary.write(["ingest", "chunk", "embed"], since=150.0, has_failed=True)
    assert "  ingest unchanged, chunk 2\n" in summary
    assert "  2 s in all" in summary
    assert "STOPPED: a stage failed" in summary


def test_scores_and_verdict_are_a_markdown_table_with_a_row_for_each_measured_metric() -> None:
    measured = {"value": 0.8, "low": 0.75, "high": 0.85, "num": 255}
    missing = {"value": None, "low": None, "high": None, "num": 0}
    candidate = dict.fromkeys(run_summary.METRICS, missing) | {"faq_match": measured}
    base = dict.fromkeys(run_summary.METRICS, missing)
    systems = {"candidate": {"metrics": candidate}, "base": {"metrics": base}}
    save("data/reports/scores.json", {"num_questions": 664, "systems": systems})
    save("data/reports/verdict.json", {"reason": "accepted: all 18 rules passed"})
    assert run_summary.as_markdown().splitlines() == [
        "**accepted: all 18 rules passed**",
        "",
        "Scores on 664 golden questions (mean [95 % interval]):",
        "",
        "|  | candidate | base |",
        "| --- | --- | --- |",
        "| `faq_match` | 0.800 [0.750, 0.850] | - |",
    ]


def test_without_scores_there_is_no_table() -> None:
    with pytest.raises(UserError, match=r"scores\.json is missing: `make run` writes it"):
        run_summary.as_markdown()
