from pathlib import Path

import pytest

from pipelines.commands import releases
from pipelines.decision import ledger
from pipelines.errors import UserError

RELEASE = ledger.Event(
    kind="released",
    step="release",
    release_id="r-1",
    candidate="c1",
    who="ada",
    why="a real model",
    when="2026-11-21T14:02:11+00:00",
    scores={"exact_match": 0.8},
    seen={},
    champion=None,
)


def test_a_declared_slowdown_is_listed_behind_the_reason_of_the_release(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.append(RELEASE)
    ledger.append(RELEASE.model_copy(update={"expected_latency_ratio": 40.0}))
    releases.run()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("release: a real model")
    assert lines[1].endswith("release: a real model (may take 40 times as long, as declared)")


def test_what_the_canary_could_not_tell_is_listed(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"expected_refused_increase": 0.2, "undecided": ["slow", "refusing"]}
    ledger.append(RELEASE.model_copy(update=changes))
    releases.run()
    assert (
        capsys.readouterr()
        .out.splitlines()[0]
        .endswith(
            "a real model (may refuse 20% more of the questions, as declared) "
            "(undecided: slow; refusing)"
        )
    )


def test_what_the_shadow_has_shown_is_listed(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.append(RELEASE)
    ledger.append(RELEASE.model_copy(update={"shadow": "60 pairs; the same words in 95% of them"}))
    releases.run()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("a real model")
    assert "(shadow: 60 pairs; the same words in 95% of them)" in lines[1]
    assert [event.shadow for event in ledger.read()] == [
        "",
        "60 pairs; the same words in 95% of them",
    ]


def test_the_listing_leads_to_the_pages_and_the_command_writes_them(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.append(RELEASE)
    releases.run()
    assert "releases --page` for all" in capsys.readouterr().out
    releases.run(page="r-1")
    assert capsys.readouterr().out == "data/reports/releases/r-1.html\n"
    assert "a real model" in Path("data/reports/releases/r-1.html").read_text()
    releases.run()
    assert capsys.readouterr().out.endswith("or data/reports/releases/index.html\n")
    releases.run(page="all")
    assert capsys.readouterr().out == "data/reports/releases/r-1.html\n"


def test_a_page_of_a_release_that_the_ledger_does_not_know_is_an_error(clone: Path) -> None:
    with pytest.raises(UserError, match="the ledger knows no release r-9: .* lists them"):
        releases.run(page="r-9")
