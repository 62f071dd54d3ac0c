import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import hashchain, ledger
from pipelines.contracts.champion import Champion
from pipelines.errors import UserError
from pipelines.ledger import Event

ROOT = Path(__file__).parents[1]
FIRST = Event(
    kind="refused", step="approval", release_id=None, candidate="c1", who="ada", why="too bold", when="2026-11-21T14:02:11+00:00", scores={"exact_match": 0.8}, seen={"a": "b"}, champion=None
)
CHAMPION = Champion(
    release_id="r-1", who="ada", why="w", when="2026-11-21T14:02:11+00:00", num_documents=3, candidate="c1", model_digest="m", folder="models/champion", model="m", prompt="p", scores={},
)  # fmt: skip
RELEASED = FIRST.model_copy(update={"kind": "released", "step": "release", "release_id": "r-1", "champion": CHAMPION})


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Git clone with one commit, which is the current folder; Git knows no user of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    (tmp_path / "params.yaml").write_text("a: 1\n")
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start")
    return tmp_path


def test_events_come_back_oldest_first_and_neither_work_tree_nor_index_nor_branch_changes(clone: Path) -> None:
    (clone / "params.yaml").write_text("a: 2\n")
    (clone / "staged.txt").write_text("mine")
    git("add", "staged.txt")
    before = (git("status", "--porcelain"), git("rev-parse", "HEAD"), git("branch", "--show-current"))
    assert ledger.read() == []
    assert ledger.champion() is None
    ledger.append(FIRST)
    ledger.append(RELEASED, whole_release=True)
    assert ledger.read() == [FIRST, RELEASED]
    assert ledger.champion() == ledger.released("r-1") == CHAMPION
    assert (git("status", "--porcelain"), git("rev-parse", "HEAD"), git("branch", "--show-current")) == before
    assert git("log", "--format=%an %s", "-1", "releases") == "ada released: r-1"


def test_a_releases_commit_and_tag_hold_its_files_as_the_work_tree_had_them(clone: Path) -> None:
    (clone / "params.yaml").write_text("a: 2\n")
    (clone / "dvc.lock").write_text("lock")
    (clone / "data/reports").mkdir(parents=True)
    (clone / "data/reports/scores.json").write_text("{}")
    (clone / ".gitignore").write_text("dvc.lock\n")
    (clone / "secret.txt").write_text("not tracked")
    ledger.append(RELEASED, whole_release=True)
    ledger.append(FIRST)
    assert git("ls-tree", "-r", "--name-only", "release/r-1").splitlines() == ["data/reports/scores.json", "dvc.lock", "models/releases.jsonl", "params.yaml"]
    assert git("show", "release/r-1:params.yaml") == "a: 2"
    assert git("merge-base", "main", "release/r-1") == git("rev-parse", "main")
    assert ledger.show("releases", "dvc.lock") == b"lock"


def test_all_work_trees_of_a_clone_share_one_ledger(clone: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path_factory.mktemp("other") / "tree"
    git("worktree", "add", "-q", "--detach", str(other))
    ledger.append(FIRST)
    monkeypatch.chdir(other)
    assert ledger.read() == [FIRST]
    ledger.append(RELEASED)
    monkeypatch.chdir(clone)
    assert ledger.read() == [FIRST, RELEASED]


def test_a_fresh_clone_continues_the_ledger_that_it_was_cloned_with(clone: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.append(FIRST)
    copy = tmp_path_factory.mktemp("copy") / "clone"
    git("clone", "-q", str(clone), str(copy))
    monkeypatch.chdir(copy)
    assert ledger.read() == [FIRST]
    ledger.append(RELEASED)
    assert ledger.read() == [FIRST, RELEASED]
    assert git("merge-base", "releases", "origin/releases") == git("rev-parse", "origin/releases")


def test_an_edited_line_is_detected_and_nothing_is_added_to_it(clone: Path) -> None:
    ledger.append(FIRST)
    ledger.append(RELEASED)
    forged = ledger.show("releases", ledger.FILE).decode().replace("too bold", "good", 1)
    git("checkout", "-q", "releases")
    (clone / ledger.FILE).write_text(forged)
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qam", "forged")
    with pytest.raises(UserError, match=r"models/releases.jsonl at [0-9a-f]{12} \(branch releases\):1: was changed after it was written"):
        ledger.read()
    with pytest.raises(UserError, match="was changed after it was written"):
        ledger.append(FIRST)


def test_a_line_that_is_no_event_is_told_with_its_number(clone: Path) -> None:
    (clone / "models").mkdir()
    (clone / ledger.FILE).write_text(hashchain.extended("", {"kind": "odd"}, "x"))
    git("add", "-A")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "odd")
    git("branch", "releases")
    with pytest.raises(UserError, match=r"\(branch releases\):1: is no event of the ledger"):
        ledger.read()


def test_writers_at_once_all_get_their_lines(clone: Path) -> None:
    code = f"import sys; from pipelines import ledger\nfor number in range(6): ledger.append(ledger.Event.model_validate({{**{FIRST.model_dump()!r}, 'who': sys.argv[1], 'why': str(number)}}))"
    started = [subprocess.Popen([sys.executable, "-c", code, name], env={**os.environ, "PYTHONPATH": str(ROOT)}) for name in ("a", "b", "c")]
    assert [process.wait() for process in started] == [0, 0, 0]
    found = ledger.read()
    assert {name: [event.why for event in found if event.who == name] for name in ("a", "b", "c")} == dict.fromkeys(("a", "b", "c"), [str(number) for number in range(6)])


def test_without_git_the_error_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="work in a Git clone with at least one commit"):
        ledger.append(FIRST)
