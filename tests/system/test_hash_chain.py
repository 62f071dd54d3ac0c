import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.system import hash_chain

ROOT = Path(__file__).parents[2]
APPEND = """
import sys
from pathlib import Path
from pipelines.system import hash_chain
for number in range(25):
    hash_chain.append(Path(sys.argv[1]), {"kind": sys.argv[2], "number": number})
"""
CHANGE_PROBLEM = "was changed after it was written"
ORDER_PROBLEM = "does not follow the line before it"

Change = Callable[[list[str]], list[str]]


def test_entries_come_back_oldest_first_and_earlier_lines_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    hash_chain.append(path, {"kind": "one", "scores": {"a": 0.5}})
    before = path.read_text()
    digest = hash_chain.append(path, {"kind": "two"})
    assert hash_chain.read(path) == [{"kind": "one", "scores": {"a": 0.5}}, {"kind": "two"}]
    assert path.read_text().startswith(before)
    assert json.loads(path.read_text().splitlines()[1])["digest"] == digest


def test_a_text_of_any_characters_stays_one_line(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    odd = {"why": "a\nb\u2028c\u0085d \x1e ä \ud800"}
    hash_chain.append(path, odd)
    hash_chain.append(path, {"why": "next"})
    assert hash_chain.read(path) == [odd, {"why": "next"}]


@pytest.mark.parametrize(
    ("change", "line", "problem"),
    [
        (lambda lines: [lines[0].replace("one", "won"), *lines[1:]], 1, CHANGE_PROBLEM),
        (lambda lines: [*lines[:2], lines[2].replace("three", "tree")], 3, CHANGE_PROBLEM),
        (lambda lines: [lines[0], lines[2]], 2, ORDER_PROBLEM),
        (lambda lines: lines[1:], 1, ORDER_PROBLEM),
        (lambda lines: [lines[1], lines[0], lines[2]], 1, ORDER_PROBLEM),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 2, ORDER_PROBLEM),
        (lambda lines: [lines[0], "{"], 2, "is not valid JSON"),
        (lambda lines: [lines[0], '{"kind": "two"}'], 2, "is not an entry of a hash chain"),
        (lambda lines: [*lines[:2], lines[2][:-20]], 3, "is not valid JSON"),
    ],
)
def test_an_edited_removed_moved_or_inserted_line_is_reported_with_its_number(
    tmp_path: Path, change: Change, line: int, problem: str
) -> None:
    path = tmp_path / "record.jsonl"
    for kind in ("one", "two", "three"):
        hash_chain.append(path, {"kind": kind})
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(UserError) as caught:
        hash_chain.read(path)
    assert str(caught.value).startswith(f"{path}:{line}: {problem}")
    with pytest.raises(UserError):
        hash_chain.append(path, {"kind": "four"})


def test_a_missing_record_is_an_error_and_never_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"record.jsonl is missing: `git checkout "):
        hash_chain.read(tmp_path / "record.jsonl")


def test_a_record_of_an_earlier_version_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text(
        '{"digest": "0f4a64c497a6d54f64cfdb1a8e1a3cac6dbf1ba0c9efd13aaabc3a2fa5136afd", '
        f'"kind": "one", "previous": "{"0" * 64}"}}\n'
    )
    assert hash_chain.read(path) == [{"kind": "one"}]


def test_processes_that_append_at_once_all_get_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    processes = [
        subprocess.Popen([sys.executable, "-c", APPEND, str(path), name], cwd=ROOT)
        for name in ("a", "b", "c")
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    entries = hash_chain.read(path)
    for name in ("a", "b", "c"):
        numbers = [entry["number"] for entry in entries if entry["kind"] == name]
        assert numbers == list(range(25))
    assert os.listdir(tmp_path) == ["record.jsonl"]
