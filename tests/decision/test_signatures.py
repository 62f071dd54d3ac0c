"""The signed ledger, with real Git and real keys of ssh-keygen."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.commands import releases
from pipelines.contracts.verdict import Override
from pipelines.decision import endorsements, ledger, ledger_audit, signatures
from pipelines.errors import UserError
from tests.decision.test_ledger import REFUSAL as BY_ADA
from tests.decision.test_ledger import RELEASE, git

AS_SOMEBODY = ("-c", "user.name=t", "-c", "user.email=t@example.org")
BY_BOB = BY_ADA.model_copy(update={"who": "bob"})

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen here")


@pytest.fixture
def keys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A person's public key, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("keys")

    def key_of(name: str) -> Path:
        path = folder / name
        if not path.exists():
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
            subprocess.run(command, check=True)
        return path.with_suffix(".pub")

    return key_of


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git("init", "-q", "-b", "main")
    git(*AS_SOMEBODY, "commit", "-q", "--allow-empty", "-m", "start")
    return tmp_path


def name_signers(keys: Callable[[str], Path], *names: str, first_lines: str = "") -> None:
    """Commit the list of those who may sign."""
    lines = [f'{name} namespaces="git" {keys(name).read_text().strip()}\n' for name in names]
    path = Path(signatures.FILE)
    path.parent.mkdir(exist_ok=True)
    path.write_text(first_lines + "".join(lines))
    git("add", str(path))
    git(*AS_SOMEBODY, "commit", "-qm", "who may sign")


def sign_as(keys: Callable[[str], Path], name: str) -> None:
    git("config", "user.signingkey", str(keys(name)))


def append_past_the_checks(line: str) -> None:
    """Put a line into the ledger by hand, signed by nobody."""
    text = git("show", f"releases:{ledger.FILE}") + f"\n{line}\n"
    git("checkout", "-q", "releases")
    Path("models").mkdir(exist_ok=True)
    Path(ledger.FILE).write_text(text)
    git("add", ledger.FILE)
    git(*AS_SOMEBODY, "commit", "-qm", "by hand")
    git("checkout", "-q", "main")


def test_as_long_as_nobody_is_named_entries_are_unsigned_and_verify_says_so(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.append(BY_ADA)
    releases.run(verify=True)
    report = capsys.readouterr().out
    assert "1 entries, none of them changed" in report
    assert "entries are not signed, since infra/allowed_signers names nobody" in report


def test_an_entry_is_signed_by_the_person_whom_it_names(
    clone: Path, keys: Callable[[str], Path]
) -> None:
    name_signers(keys, "ada", "bob")
    sign_as(keys, "ada")
    ledger.append(BY_ADA)
    ledger.append(RELEASE, whole_release=True)
    sign_as(keys, "bob")
    ledger.append(BY_BOB)
    assert ledger.read() == [BY_ADA, RELEASE, BY_BOB]
    assert ledger_audit.verify()[-1] == "signed by the people whom they name"
    with pytest.raises(UserError, match="has an entry of 'ada' but is signed by 'bob'"):
        ledger.append(BY_ADA)
    sign_as(keys, "eve")
    with pytest.raises(UserError, match="signed by a key that is not in infra/allowed_signers"):
        ledger.append(BY_ADA)
    git("config", "--unset", "user.signingkey")
    with pytest.raises(UserError, match="name your SSH key by `git config user.signingkey"):
        ledger.append(BY_ADA)
    assert ledger.read() == [BY_ADA, RELEASE, BY_BOB]


def test_the_workers_key_signs_for_the_people_who_decide_in_airflow(
    clone: Path, keys: Callable[[str], Path]
) -> None:
    name_signers(keys, signatures.DELEGATE)
    sign_as(keys, signatures.DELEGATE)
    ledger.append(BY_BOB)
    assert ledger.read() == [BY_BOB]


def test_an_unsigned_or_foreign_entry_stops_reading_and_adding(
    clone: Path, keys: Callable[[str], Path]
) -> None:
    name_signers(keys, "ada")
    sign_as(keys, "ada")
    commit = ledger.append(BY_ADA)
    append_past_the_checks(git("show", f"releases:{ledger.FILE}").splitlines()[0])
    for action in (ledger.read, ledger.champion, lambda: ledger.append(BY_ADA)):
        with pytest.raises(UserError, match="the ledger's commit [0-9a-f]{12} is not signed"):
            action()
    git("branch", "--force", "releases", commit)
    assert ledger.read() == [BY_ADA]
    git("config", "gpg.format", "ssh")
    sign_as(keys, "eve")
    git("checkout", "-q", "releases")
    with Path(ledger.FILE).open("a") as file:
        file.write(json.dumps(BY_ADA.model_dump(mode="json"), sort_keys=True) + "\n")
    git("add", "--force", ledger.FILE)
    git(*AS_SOMEBODY, "commit", "-q", "-S", "-m", "as ada")
    git("checkout", "-q", "main")
    with pytest.raises(UserError, match="signed by a key that is not in infra/allowed_signers"):
        releases.run(verify=True)


def test_a_branch_of_somebodys_own_cannot_add_a_key(
    clone: Path, keys: Callable[[str], Path]
) -> None:
    name_signers(keys, "ada")
    git("worktree", "add", "-q", "-b", "eves", "tree")
    os.chdir("tree")
    name_signers(keys, "ada", "eve")
    sign_as(keys, "eve")
    with pytest.raises(UserError, match="signed by a key that is not in infra/allowed_signers"):
        ledger.append(BY_ADA.model_copy(update={"who": "eve"}))


def test_entries_from_before_the_first_key_are_pinned_by_their_commit(
    clone: Path, keys: Callable[[str], Path]
) -> None:
    pin = ledger.append(BY_BOB)
    sign_as(keys, "ada")
    name_signers(keys, "ada")
    with pytest.raises(UserError, match="is not signed"):
        ledger.read()
    name_signers(keys, "ada", first_lines=f"# unsigned until {pin}\n")
    ledger.append(BY_ADA)
    assert ledger.read() == [BY_BOB, BY_ADA]
    # A whole new line of commits, each signed, is found as well.
    git("update-ref", "-d", ledger.REF)
    ledger.append(BY_ADA)
    with pytest.raises(UserError, match="the ledger does not hold this commit"):
        ledger.read()


def test_a_moved_tag_and_a_remote_that_was_rewound_are_found(
    clone: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared = tmp_path_factory.mktemp("shared") / "shared.git"
    git("init", "-q", "--bare", str(shared))
    git("remote", "add", "origin", str(shared))
    first = ledger.append(RELEASE, whole_release=True)
    git("push", "-q", "origin", "releases", "--tags")
    git("tag", "--force", "release/r-1", "main")
    with pytest.raises(UserError, match="tag release/r-1 names .* which is not in the branch"):
        ledger_audit.verify()
    git("tag", "--force", "release/r-1", first)
    ledger_audit.verify()
    git("update-ref", "-d", ledger.REF)
    git("update-ref", "-d", "refs/remotes/origin/releases")
    ledger.append(BY_BOB)
    git("fetch", "-q", "origin", "refs/heads/releases:refs/remotes/origin/releases")
    with pytest.raises(UserError, match="went apart"):
        ledger_audit.verify()


def push(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", "push", *words], capture_output=True, text=True)


def test_the_shared_repository_refuses_to_rewind_the_ledger_and_to_move_a_tag(
    clone: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = tmp_path_factory.mktemp("shared") / "shared.git"
    git("init", "-q", "--bare", str(shared))
    releases.run(protect=shared)
    assert "a push that rewinds the ledger is refused" in capsys.readouterr().out
    first = ledger.append(RELEASE, whole_release=True)
    second = ledger.append(BY_ADA)
    assert push(str(shared), "releases", "--tags", "main").returncode == 0
    swapped = git(*AS_SOMEBODY, "commit-tree", "main^{tree}", "-p", "main", "-p", second, "-m", "m")
    for target in (f"+{first}:refs/heads/releases", ":releases", f"{swapped}:refs/heads/releases"):
        process = push(str(shared), target)
        assert process.returncode != 0
        assert "the ledger of releases is only ever appended to" in process.stderr
    for target in ("+main:refs/tags/release/r-1", ":refs/tags/release/r-1"):
        assert "stays where it is" in push(str(shared), target).stderr
    ledger.append(BY_BOB)
    assert push(str(shared), "releases").returncode == 0
    assert push(str(shared), "+releases~1:refs/heads/else").returncode == 0
    (shared / "hooks/update").write_text("#!/bin/sh\n")
    with pytest.raises(UserError, match="is there already and stays"):
        releases.run(protect=shared)
    with pytest.raises(UserError, match="is not a Git repository on this machine"):
        releases.run(protect=clone / "nowhere")


def test_an_override_needs_two_different_people_once_the_ledger_is_signed(
    clone: Path, keys: Callable[[str], Path]
) -> None:
    override = Override(
        candidate="c" * 12, rules=["champion"], who="ada", why="w", until="2099-01-01"
    )
    candidate = "c" * 64
    assert endorsements.in_force([override], candidate) == ([override], None)
    name_signers(keys, "ada", "bob")
    endorse(keys, "ada", override, candidate)
    endorse(keys, "ada", override, candidate)

    obeyed, objection = endorsements.in_force([override], candidate)

    assert obeyed == []
    assert "they need 2 people, and have ada" in str(objection)
    endorse(keys, "bob", override, candidate)
    assert endorsements.in_force([override], candidate) == ([override], None)
    # What they signed for is not what somebody made of it later.
    wider = override.model_copy(update={"rules": ["champion", "floor exact_match"]})
    assert endorsements.in_force([wider], candidate)[0] == []
    assert endorsements.in_force([], candidate) == ([], None)


def endorse(keys: Callable[[str], Path], name: str, override: Override, candidate: str) -> None:
    sign_as(keys, name)
    changes = {
        "kind": "approved",
        "step": endorsements.STEP,
        "who": name,
        "candidate": candidate,
        "seen": {endorsements.SEEN: endorsements.digest_of([override])},
    }
    ledger.append(BY_ADA.model_copy(update=changes))
