from pathlib import Path
from typing import Any

import pytest

from pipelines.contracts.drift import Acceptance, Decision
from pipelines.errors import UserError
from pipelines.monitoring import decisions
from pipelines.monitoring.decisions import Record


def decision(**changes: Any) -> Decision:
    values: dict[str, Any] = {
        "decision_id": "d-1",
        "run_id": None,
        "when": "2026-11-21T11:00:00+00:00",
        "window": "w-1",
        "release_id": "r-1",
        "outcome": "no_drift",
        "signals": [],
        "confirmed": False,
        "wanted": "none",
        "reaction": "none",
        "blocked_by": [],
        "num_reviewed": 0,
        "num_waiting": 0,
        "judged_to": None,
        "accepted": False,
        "verdict_digest": "0",
        "report": "r.html",
        "reason": "No drift.",
    }
    return Decision(**values | changes)


def acceptance(window: str, when: str) -> Acceptance:
    return Acceptance(window=window, release_id="r-1", who="ada", why="new normal", when=when)


def test_the_ledger_gives_back_what_was_written_and_an_edited_line_is_found(
    tmp_path: Path,
) -> None:
    ledger = tmp_path / "decisions.jsonl"
    word = acceptance("w-1", "2026-11-21T12:00:00+00:00")
    assert decisions.read(ledger) == Record([], [])
    decisions.append(decision(), ledger)
    decisions.append(word, ledger)
    assert decisions.read(ledger) == Record([decision()], [word])

    text = ledger.read_text().replace('"reaction": "none"', '"reaction": "train"')
    ledger.write_text(text)
    with pytest.raises(UserError, match=r"decisions.jsonl:1: was changed after it was written"):
        decisions.read(ledger)


def test_the_baseline_is_all_accepted_windows_and_starts_anew_with_a_persons_word() -> None:
    windows = [
        decision(window="w-1", accepted=True, when="2026-11-01T00:00:00+00:00"),
        decision(window="w-2", accepted=False, when="2026-11-02T00:00:00+00:00"),
        decision(window="w-3", accepted=True, when="2026-11-03T00:00:00+00:00"),
        decision(window="w-5", accepted=True, when="2026-11-05T00:00:00+00:00"),
        decision(window="w-9", accepted=True, release_id="r-2"),
    ]
    word = acceptance("w-2", "2026-11-04T00:00:00+00:00")
    assert decisions.baseline("r-1", windows, []) == ["w-1", "w-3", "w-5"]
    assert decisions.baseline("r-1", windows, [word]) == ["w-2", "w-5"]
    assert decisions.baseline("r-3", windows, [word]) == []
