import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.contracts.champion import Champion
from pipelines.decision import ledger
from pipelines.decision.ledger import Event
from pipelines.errors import UserError
from pipelines.system import hash_chain

ROOT = Path(__file__).parents[2]
AS_SOMEBODY = ("-c", "user.name=t", "-c", "user.email=t@example.org")
REFUSAL = Event(
    kind="refused",
    step="approval",
    release_id=None,
    candidate="c1",
    who="ada",
    why="too bold",
    when="2026-11-21T14:02:11+00:00",
    scores={"exact_match": 0.8},
    seen={"a": "b"},
    champion=None,
)
CHAMPION = Champion(
    release_id="r-1",
    who="ada",
    why="w",
    when="2026-11-21T14:02:11+00:00",
    num_documents=3,
    candidate="c1",
    model_digest="m",
    folder="models/champion",
    model="m",
    prompt="p",
    scores={},
)
RELEASE = REFUSAL.model_copy(
    update={"kind": "released", "step": "release", "release_id": "r-1", "champion": CHAMPION}
)


def git(*words: str) -> str:
    call = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    return call.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Git clone with one commit, which is the current folder; Git knows no user of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    (tmp_path / "params.yaml").write_text("a: 1\n")
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git(*AS_SOMEBODY, "commit", "-qm", "start")
    return tmp_path


def state_of_clone() -> tuple[str, str, str]:
    return git("status", "--porcelain"), git("rev-parse", "HEAD"), git("branch", "--show-current")


def commit_to_ledger(text: str) -> None:
    """Make `text` the ledger's file by a commit of somebody's own on the branch."""
    git("checkout", "-q", "releases")
    Path("models").mkdir(exist_ok=True)
    Path(ledger.FILE).write_text(text)
    git("add", "-A")
    git(*AS_SOMEBODY, "commit", "-qm", "by hand")
    git("checkout", "-q", "main")


def test_events_come_back_oldest_first_and_work_tree_index_and_branch_stay(clone: Path) -> None:
    (clone / "params.yaml").write_text("a: 2\n")
    (clone / "staged.txt").write_text("mine")
    git("add", "staged.txt")
    before = state_of_clone()
    assert ledger.read() == []
    assert ledger.champion() is None
    ledger.append(REFUSAL)
    ledger.append(RELEASE, whole_release=True)
    assert ledger.read() == [REFUSAL, RELEASE]
    assert ledger.champion() == ledger.find_release("r-1") == CHAMPION
    assert state_of_clone() == before
    assert git("log", "--format=%an %s", "-1", "releases") == "ada released: r-1"


def test_a_declared_slowdown_comes_back_and_a_line_without_one_has_no_such_key(clone: Path) -> None:
    declaration = RELEASE.model_copy(update={"expected_latency_ratio": 40.0})
    ledger.append(REFUSAL)
    ledger.append(declaration)
    assert ledger.read() == [REFUSAL, declaration]
    lines = git("show", f"releases:{ledger.FILE}").splitlines()
    assert "expected_latency_ratio" not in lines[0]
    assert '"expected_latency_ratio": 40.0' in lines[1]


def test_what_a_canary_could_not_tell_comes_back(clone: Path) -> None:
    undecided = RELEASE.model_copy(update={"undecided": ["thumbs down"]})
    ledger.append(RELEASE)
    ledger.append(undecided)
    assert ledger.read() == [RELEASE, undecided]
    assert "undecided" not in git("show", f"releases:{ledger.FILE}").splitlines()[0]


def test_a_releases_commit_and_tag_hold_its_files_as_the_work_tree_had_them(clone: Path) -> None:
    (clone / "params.yaml").write_text("a: 2\n")
    (clone / "dvc.lock").write_text("lock")
    (clone / "data/reports").mkdir(parents=True)
    (clone / "data/reports/scores.json").write_text("{}")
    (clone / ".gitignore").write_text("dvc.lock\n")
    (clone / "secret.txt").write_text("not tracked")
    ledger.append(RELEASE, whole_release=True)
    ledger.append(REFUSAL)
    assert git("ls-tree", "-r", "--name-only", "release/r-1").splitlines() == [
        "data/reports/scores.json",
        "dvc.lock",
        "models/releases.jsonl",
        "params.yaml",
    ]
    assert git("show", "release/r-1:params.yaml") == "a: 2"
    assert git("merge-base", "main", "release/r-1") == git("rev-parse", "main")
    assert git("show", "releases:dvc.lock") == "lock"
    assert ledger.read() == [RELEASE, REFUSAL]


def test_a_file_of_that_name_in_the_history_of_the_code_is_no_part_of_the_ledger(
    clone: Path,
) -> None:
    path = clone / ledger.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n")
    git("add", "--force", ledger.FILE)
    git(*AS_SOMEBODY, "commit", "-qm", "an experiment")
    git("rm", "-q", ledger.FILE)
    git(*AS_SOMEBODY, "commit", "-qm", "and its end")
    ledger.append(RELEASE, whole_release=True)
    ledger.append(REFUSAL)
    assert ledger.read() == [RELEASE, REFUSAL]


def test_all_work_trees_of_a_clone_share_one_ledger(
    clone: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_tree = tmp_path_factory.mktemp("second") / "tree"
    git("worktree", "add", "-q", "--detach", str(second_tree))
    ledger.append(REFUSAL)
    monkeypatch.chdir(second_tree)
    assert ledger.read() == [REFUSAL]
    ledger.append(RELEASE)
    monkeypatch.chdir(clone)
    assert ledger.read() == [REFUSAL, RELEASE]


def test_a_fresh_clone_continues_the_ledger_that_it_was_cloned_with(
    clone: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.append(REFUSAL)
    copy = tmp_path_factory.mktemp("copy") / "clone"
    git("clone", "-q", str(clone), str(copy))
    monkeypatch.chdir(copy)
    assert ledger.read() == [REFUSAL]
    ledger.append(RELEASE)
    assert ledger.read() == [REFUSAL, RELEASE]
    assert git("merge-base", "releases", "origin/releases") == git("rev-parse", "origin/releases")


def test_lines_of_the_former_hash_chain_are_read_and_continued(clone: Path) -> None:
    git("branch", "releases")
    text = hash_chain.extend("", REFUSAL.model_dump(mode="json"), "x")
    commit_to_ledger(text)
    ledger.append(RELEASE)
    assert ledger.read() == [REFUSAL, RELEASE]
    assert git("show", f"releases:{ledger.FILE}").startswith(text)


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (lambda lines: [lines[0].replace("too bold", "good"), *lines[1:]], 1),  # edited
        (lambda lines: lines[:2], 3),  # the last one removed
        (lambda lines: lines[1:], 1),  # the first one removed
        (lambda lines: [lines[1], lines[0], lines[2]], 1),  # moved
        (lambda lines: [lines[0], lines[2], lines[1], lines[2]], 2),  # inserted
        (lambda lines: [], 1),  # all removed
    ],
)
def test_a_rewritten_line_is_found_and_nothing_is_added_to_it(
    clone: Path, change: Callable[[list[str]], list[str]], number: int
) -> None:
    ledger.append(REFUSAL)
    ledger.append(RELEASE, whole_release=True)
    good_commit = ledger.append(REFUSAL.model_copy(update={"who": "bob"}))
    lines = git("show", f"releases:{ledger.FILE}").split("\n")
    commit_to_ledger("".join(f"{line}\n" for line in change(lines)))
    location = rf"models/releases.jsonl at [0-9a-f]{{12}} \(branch releases\):{number}: "
    problem = f"was changed, moved or removed after commit {good_commit[:12]} recorded it"
    with pytest.raises(UserError, match=location + problem):
        ledger.read()
    with pytest.raises(UserError, match=location + problem):
        ledger.append(REFUSAL)


def test_a_line_that_was_rewritten_earlier_is_found_beneath_later_lines(clone: Path) -> None:
    ledger.append(REFUSAL)
    line = git("show", f"releases:{ledger.FILE}")
    changed_line = line.replace("too bold", "good")
    later_line = line.replace("ada", "bob")
    commit_to_ledger(f"{changed_line}\n")
    commit_to_ledger(f"{changed_line}\n{later_line}\n")
    with pytest.raises(UserError, match=r"\(branch releases\):1: was changed, moved or removed"):
        ledger.read()


def test_a_ledger_that_was_removed_and_written_anew_is_found(clone: Path) -> None:
    ledger.append(REFUSAL)
    line = git("show", f"releases:{ledger.FILE}")
    git("checkout", "-q", "releases")
    git("rm", "-q", ledger.FILE)
    git(*AS_SOMEBODY, "commit", "-qm", "removed", "--allow-empty")
    git("checkout", "-q", "main")
    with pytest.raises(UserError, match="the branch releases has no models/releases.jsonl at"):
        ledger.read()
    commit_to_ledger(f"{line}\n")
    with pytest.raises(UserError, match=r"\(branch releases\):2: was changed, moved or removed"):
        ledger.read()


@pytest.mark.parametrize("line", ['{"kind": "odd"}', "7", "no JSON"])
def test_a_line_that_is_not_an_event_is_reported_with_its_number(clone: Path, line: str) -> None:
    git("branch", "releases")
    commit_to_ledger(f"{line}\n")
    with pytest.raises(UserError, match=r"\(branch releases\):1: is not an event of the ledger"):
        ledger.read()


def test_simultaneous_writers_all_get_their_lines(clone: Path) -> None:
    code = f"""
import json, sys
from pipelines.decision import ledger

event = ledger.Event.model_validate_json({json.dumps(REFUSAL.model_dump_json())})
for number in range(6):
    ledger.append(event.model_copy(update={{"who": sys.argv[1], "why": str(number)}}))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers: list[subprocess.Popen[bytes]] = []
    for name in ("a", "b", "c"):
        writers.append(subprocess.Popen([sys.executable, "-c", code, name], env=environment))
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    reasons: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    for event in ledger.read():
        reasons[event.who].append(event.why)
    in_order = ["0", "1", "2", "3", "4", "5"]
    assert reasons == {"a": in_order, "b": in_order, "c": in_order}


def test_without_git_the_error_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="work in a Git clone with at least one commit"):
        ledger.append(REFUSAL)


def test_an_author_and_a_reason_are_required() -> None:
    ledger.require_author("ada", "good")
    with pytest.raises(UserError, match="--who and --why must not be empty"):
        ledger.require_author(" ", "good")
    with pytest.raises(UserError, match="--who and --why must not be empty"):
        ledger.require_author("ada", "")
