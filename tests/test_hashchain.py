import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import hashchain
from pipelines.errors import UserError


def test_entries_come_back_oldest_first_and_earlier_lines_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    hashchain.append(path, {"kind": "one", "scores": {"a": 0.5}})
    before = path.read_text()
    digest = hashchain.append(path, {"kind": "two"})
    assert hashchain.read(path) == [{"kind": "one", "scores": {"a": 0.5}}, {"kind": "two"}]
    assert path.read_text().startswith(before)
    assert json.loads(path.read_text().splitlines()[1])["digest"] == digest


def test_a_text_of_any_characters_stays_one_line(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    odd = {"why": "a\nb\u2028c\u0085d \x1e ä \ud800"}
    hashchain.append(path, odd)
    hashchain.append(path, {"why": "next"})
    assert hashchain.read(path) == [odd, {"why": "next"}]


@pytest.mark.parametrize(
    ("change", "line", "problem"),
    [
        (lambda lines: [lines[0].replace("one", "won"), *lines[1:]], 1, "was changed after it was written"),
        (lambda lines: [*lines[:2], lines[2].replace("three", "tree")], 3, "was changed after it was written"),
        (lambda lines: [lines[0], lines[2]], 2, "does not follow the line before it"),
        (lambda lines: lines[1:], 1, "does not follow the line before it"),
        (lambda lines: [lines[1], lines[0], lines[2]], 1, "does not follow the line before it"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 2, "does not follow the line before it"),
        (lambda lines: [lines[0], "{"], 2, "is no JSON"),
        (lambda lines: [lines[0], '{"kind": "two"}'], 2, "is no entry of a hash chain"),
        (lambda lines: [*lines[:2], lines[2][:-20]], 3, "is no JSON"),
    ],
)
def test_an_edited_removed_moved_or_inserted_line_is_found_at_its_number(tmp_path: Path, change, line: int, problem: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "record.jsonl"
    for kind in ("one", "two", "three"):
        hashchain.append(path, {"kind": kind})
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(UserError) as caught:
        hashchain.read(path)
    assert str(caught.value).startswith(f"{path}:{line}: {problem}")
    with pytest.raises(UserError):
        hashchain.append(path, {"kind": "four"})


def test_a_missing_record_is_an_error_and_never_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"record.jsonl is missing: `git checkout "):
        hashchain.read(tmp_path / "record.jsonl")


def test_processes_that_append_at_once_all_get_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    code = f"import sys; from pathlib import Path; from pipelines import hashchain\nfor number in range(25): hashchain.append(Path({str(path)!r}), {{'kind': sys.argv[1], 'number': number}})"
    started = [subprocess.Popen([sys.executable, "-c", code, name], cwd=Path(__file__).parents[1]) for name in ("a", "b", "c")]
    assert [process.wait() for process in started] == [0, 0, 0]
    entries = hashchain.read(path)
    assert {name: [entry["number"] for entry in entries if entry["kind"] == name] for name in ("a", "b", "c")} == {name: list(range(25)) for name in ("a", "b", "c")}
