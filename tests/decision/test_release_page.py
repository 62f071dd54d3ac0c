"""What the ledger and its commits know about a release, on one page; in a real Git repository."""

import re
import subprocess
from pathlib import Path

import pytest

from pipelines import files
from pipelines.contracts.champion import Champion
from pipelines.contracts.release_steps import Curve, Mark, Plot, StepResult
from pipelines.contracts.report import Check
from pipelines.contracts.verdict import Verdict
from pipelines.decision import ledger, release_page, step_results

WHEN = "2026-11-21T14:02:11+00:00"
VERDICT = Verdict(
    accepted=True,
    candidate="c1",
    reason="accepted: all 1 rules passed",
    rules=[Check(name="floor hit_at_5", passed=True, observed="0.95", expected="at least 0.9")],
    overrides=[],
    not_judged=["hostile questions"],
    power=["hit_at_5, 300 questions: a model passes the floor 0.9 8 times of 10 at 0.94"],
)
CHAMPION = Champion(
    release_id="r-1",
    who="ada",
    why="first",
    when=WHEN,
    num_documents=3,
    candidate="c1",
    model_digest="m",
    folder="models/champion",
    model="m",
    prompt="p",
    scores={},
)
RELEASE = ledger.Event(
    kind="released",
    step="release",
    release_id="r-1",
    candidate="c1",
    who="ada",
    why="a <b>better</b> model",
    when=WHEN,
    scores={},
    seen={},
    champion=CHAMPION,
)
REFUSAL = RELEASE.model_copy(
    update={"kind": "rolled_back", "step": "canary", "why": "too slow", "champion": None}
)
CANARY = StepResult(
    step="canary",
    when=WHEN,
    passed=False,
    reason="1 of 1 checks failed",
    checks=[Check(name="time to the answer", passed=False, observed="9 times", expected="1.5")],
    undecided=["thumbs down"],
    error_rates=["A release as good falls with a chance of at most 1.00%"],
    plots=[
        Plot(
            title="time to the answer",
            x_label="requests",
            marks=[Mark(x=0, label="5%"), Mark(x=40, label="50%")],
            curves=[
                Curve(
                    label="it is worse",
                    is_against=True,
                    threshold=2.78,
                    points=[(0, 0.0), (40, 1.2), (60, 9.0)],
                )
            ],
        )
    ],
)


def text_of(page: str) -> str:
    """The page's text in one line, without markup."""
    body = page.split("<body", maxsplit=1)[1]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_page_has_what_gate_and_canary_saw_with_thresholds_and_error_rates(
    clone: Path,
) -> None:
    step_results.begin("r-1", VERDICT)
    step_results.add("r-1", CANARY)
    ledger.append(REFUSAL, steps=step_results.text("r-1"))
    [path] = release_page.write("r-1")
    page = path.read_text()
    text = text_of(page)
    assert "never live" in text.lower()
    assert "rolled back canary ada too slow" in text
    assert "Gate: passed" in text
    assert "floor hit_at_5 0.95 at least 0.9 passed" in text
    assert "8 times of 10 at 0.94" in text
    assert "hostile questions" in text
    assert "Canary: refused" in text
    assert "time to the answer 9 times 1.5 failed" in text
    assert "with a chance of at most 1.00%" in text
    assert "evidence that it is worse: more than a million to 1 after 60 requests" in page
    assert page.count("<polyline") == 1


def test_a_clone_without_the_working_files_writes_the_same_page_from_the_ledger(
    clone: Path,
) -> None:
    step_results.begin("r-1", VERDICT)
    ledger.append(RELEASE, steps=step_results.text("r-1"))
    [path] = release_page.write("r-1")
    page = path.read_text()
    step_results._file("r-1").unlink()
    path.unlink()
    release_page.write("r-1")
    assert path.read_text() == page
    assert "Gate: passed" in text_of(page)
    assert "a &lt;b&gt;better&lt;/b&gt; model" in page


def test_every_attempt_is_kept_and_a_later_commit_cannot_change_an_earlier_one(
    clone: Path,
) -> None:
    step_results.begin("r-1", VERDICT)
    step_results.add("r-1", CANARY)
    first = step_results.text("r-1")
    ledger.append(REFUSAL, steps=first)
    ledger.append(REFUSAL, steps=first.replace("9 times", "8 times"))
    step_results.begin("r-1", VERDICT)
    ledger.append(RELEASE, steps=step_results.text("r-1"))
    attempts = step_results.attempts("r-1")
    assert [len(attempt.steps) for attempt in attempts] == [2, 1]
    assert attempts[0].steps[-1] == CANARY
    text = text_of(release_page.write("r-1")[0].read_text())
    assert text.count("Attempt of") == 2
    assert text.index("Canary: refused") > text.rindex("Attempt of"), "the newest comes first"


def test_an_attempt_that_was_killed_leaves_what_it_knew(clone: Path) -> None:
    step_results.begin("r-1", VERDICT)
    step_results.add("r-1", CANARY)
    assert [len(attempt.steps) for attempt in step_results.attempts("r-1")] == [2]
    assert "Canary: refused" in text_of(release_page.write("r-1")[0].read_text())


def test_a_step_that_the_page_does_not_know_is_shown_under_its_own_name(clone: Path) -> None:
    step_results.begin("r-1", VERDICT)
    step_results.add("r-1", CANARY.model_copy(update={"step": "trial"}))
    assert "Trial: refused" in text_of(release_page.write("r-1")[0].read_text())


def test_of_a_release_from_before_steps_were_kept_the_verdict_of_its_commit_is_shown(
    clone: Path,
) -> None:
    files.write_json(clone / release_page.VERDICT, VERDICT)
    ledger.append(RELEASE, whole_release=True)
    text = text_of(release_page.write("r-1")[0].read_text())
    assert "Gate: passed" in text
    assert "Canary" not in text


def test_only_the_last_release_is_live_and_the_list_links_each_page(clone: Path) -> None:
    ledger.append(RELEASE)
    second = CHAMPION.model_copy(update={"release_id": "r-2"})
    ledger.append(RELEASE.model_copy(update={"release_id": "r-2", "champion": second}))
    paths = release_page.write_all()
    assert [path.name for path in paths] == ["r-1.html", "r-2.html"]
    assert "Was live." in text_of(paths[0].read_text())
    assert "Live." in text_of(paths[1].read_text())
    listing = (release_page.FOLDER / release_page.LIST).read_text()
    assert re.findall(r'href="(r-.*?)"', listing) == ["r-2.html", "r-1.html"]
    assert text_of(listing).count("(live)") == 1


def test_nothing_is_written_about_a_release_that_nobody_knows(clone: Path) -> None:
    ledger.append(RELEASE)
    assert release_page.write("r-9") == []
    assert not (release_page.FOLDER / "r-9.html").exists()


def test_a_persons_decision_about_the_candidate_is_on_its_page(clone: Path) -> None:
    approval = {"kind": "approved", "step": "approval", "release_id": None, "champion": None}
    ledger.append(RELEASE.model_copy(update=approval | {"why": "read it all"}))
    ledger.append(RELEASE.model_copy(update=approval | {"why": "another", "candidate": "c2"}))
    ledger.append(RELEASE)
    text = text_of(release_page.write("r-1")[0].read_text())
    assert "read it all" in text
    assert "another" not in text


def test_before_anybody_decides_the_page_shows_what_the_gate_saw(tmp_path: Path) -> None:
    release_page.write_candidate(tmp_path / "release.html", "r-1", VERDICT)
    text = text_of((tmp_path / "release.html").read_text())
    assert "Not released. Below is what the gate saw" in text
    assert "Gate: passed" in text
    assert "In the ledger" not in text
    assert "All releases" not in text, "no list lies beside it"


def test_the_pages_of_a_clone_are_not_for_git(clone: Path) -> None:
    ignored = Path(__file__).parents[2] / "data/reports/.gitignore"
    (clone / "data/reports").mkdir(parents=True)
    (clone / "data/reports/.gitignore").write_text(ignored.read_text())
    ledger.append(RELEASE)
    release_page.write("r-1")
    status = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"], capture_output=True, text=True
    )
    assert "releases/" not in status.stdout


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Git repository with one commit, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("a: 1\n")
    for words in (
        ["init", "-q", "-b", "main"],
        ["config", "user.name", "ada"],
        ["config", "user.email", "ada@localhost"],
        ["add", "-A"],
        ["commit", "-qm", "start"],
    ):
        subprocess.run(["git", *words], check=True)
    return tmp_path


def test_an_attempt_right_after_another_is_kept_beside_it(clone: Path) -> None:
    """Also within the second to which the ledger's times are exact; a release has all files."""
    step_results.begin("r-1", VERDICT)
    ledger.append(REFUSAL, steps=step_results.text("r-1"))
    step_results.begin("r-1", VERDICT)
    step_results.add("r-1", CANARY)
    ledger.append(RELEASE, whole_release=True, steps=step_results.text("r-1"))
    assert [len(attempt.steps) for attempt in step_results.attempts("r-1")] == [1, 2]
