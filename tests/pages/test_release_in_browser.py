"""The page of a release in a real browser, light and dark, wide and narrow.

Its canary is a real comparison of a slower release, on requests that were routed as a server does.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from pipelines.config.proof import ProofConfig
from pipelines.contracts.report import Check, CheckCode, Report
from pipelines.contracts.verdict import Verdict
from pipelines.decision import ledger, release_page, step_results
from pipelines.serving import step_records
from pipelines.serving.canary import Outcome
from pipelines.serving.declarations import NOTHING
from pipelines.serving.live_comparison import LiveComparison, Phase
from tests.gateway import browsers
from tests.gateway.browsers import needs_browser
from tests.serving.conftest import PROOF
from tests.serving.routed_rows import CONFIG, ROUTES, START, every, rows

WHEN = "2026-11-21T14:02:11+00:00"
VERDICT = Verdict(
    accepted=True,
    candidate="9f1e5a",
    reason="accepted: all 2 rules passed; exact match 0.812 [0.765, 0.857]",
    rules=[
        Check(
            name="floor faq_match",
            passed=True,
            observed="0.753 [0.686, 0.816]",
            expected="lower end >= 0.5",
        ),
        Check(
            name="not worse than the champion in faq_match",
            passed=True,
            observed="-0.011 [-0.054, 0.031]",
            expected="lower end >= -0.1",
        ),
    ],
    overrides=[],
    not_judged=["whether attacks are refused: no golden question is one"],
    power=["faq_match, 255 questions: a model passes the floor 0.5 8 times of 10 at 0.59"],
)


def write_history() -> Path:
    """A release that fell in its canary; returns its page."""
    step_results.begin("r-9f1e5a", VERDICT)
    checks = [
        Check(
            name="answers equal evaluate's",
            code=CheckCode.SAME_ANSWERS,
            passed=True,
            observed="8 of 8",
            expected="at least 100 % (proof.min_same_answers)",
        ),
    ]
    proof = step_records.of_proof(Report.of(checks), ProofConfig.model_validate(PROOF), 255)
    step_results.add("r-9f1e5a", proof)
    comparison = LiveComparison(CONFIG, NOTHING, history=[])
    comparison.begin(Phase(START, ROUTES))
    requests = rows(300, every(3, total_ms=900.0))
    judgement = comparison.judge()
    for end in range(5, 301, 5):
        comparison.add(requests[:end], {})
        judgement = comparison.judge()
        if not judgement.report.passed:
            break
    outcome = Outcome(judgement.report, judgement.gaps, comparison.curves.plots())
    canary = step_records.of_canary(outcome, CONFIG)
    step_results.add("r-9f1e5a", canary)
    fall = ledger.Event(
        kind="rolled_back",
        step="canary",
        release_id="r-9f1e5a",
        candidate="9f1e5a",
        who="ada",
        why=canary.reason,
        when=WHEN,
        scores={},
        seen={},
        champion=None,
        expected_refused_increase=0.02,
    )
    ledger.append(fall, steps=step_results.text("r-9f1e5a"))
    [path] = release_page.write("r-9f1e5a")
    return path.resolve()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("release")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        subprocess.run(["git", "init", "-q", "-b", "main"], check=True)
        identity = ("-c", "user.name=ada", "-c", "user.email=ada@localhost")
        commit = ("commit", "-qm", "start", "--allow-empty")
        subprocess.run(["git", *identity, *commit], check=True)
        yield write_history()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.launch() as browser:
        yield browser


def brightness(color: str) -> float:
    """From 0 to 255, of `rgb(r, g, b)`."""
    parts = color.removeprefix("rgb(").removesuffix(")").split(",")
    return sum(float(part) for part in parts) / 3


def style(page: Page, selector: str, name: str) -> str:
    script = f"getComputedStyle(document.querySelector('{selector}')).{name}"
    return str(page.evaluate(script))


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_shows_gate_proof_and_canary_with_pictures_and_fetches_nothing(
    browser: Browser, path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    complaints: list[str] = []
    requests: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    headings = page.locator("h2").all_inner_texts()
    assert headings == ["In the ledger", "Gate: passed", "Proof: passed", "Canary: refused"]
    assert page.locator("svg").count() == 5
    assert "5% of all questions differently passes with a chance of 66.34%" in page.inner_text(
        "body"
    )
    picture = page.get_by_role("img", name="time to the answer")
    name = picture.get_attribute("aria-label")
    assert name is not None
    assert "600 to 1, where it decides, was reached" in name
    box = picture.locator("polyline.bad").bounding_box()
    assert box is not None
    assert box["width"] > 50
    assert box["height"] > 10
    red, green = (style(page, f"polyline.{kind}", "stroke") for kind in ("bad", "good"))
    assert red != green
    back = brightness(style(page, "body", "backgroundColor"))
    text = brightness(style(page, "body", "color"))
    assert (back > 200 > 100 > text) if scheme == "light" else (back < 60 < 180 < text)
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1], "nothing sticks out"
    assert complaints == []
    assert requests == [path.as_uri()]
    page.close()


@needs_browser
def test_the_list_and_the_page_lead_to_one_another(browser: Browser, path: Path) -> None:
    page = browser.new_page()
    page.goto(path.as_uri())
    page.get_by_role("link", name="All releases").click()
    page.get_by_role("link", name="r-9f1e5a").click()
    assert page.url == path.as_uri()
    page.close()
