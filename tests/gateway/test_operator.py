"""The operator's page, in a real browser, on a clone with a history."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pipelines.config.gateway import Limits
from pipelines.decision import ledger, release_page
from pipelines.gateway import database, keys
from pipelines.gateway.accounts import UNIT, Accounts, Order, Outcome, Tokens
from pipelines.gateway.keys import Key, Role
from pipelines.serving import live_routes
from tests.conftest import enter_new_clone
from tests.gateway.browsers import PATIENCE, needs_browser, open_with_key
from tests.gateway.conftest import GENEROUS, run_gateway
from tests.gateway.test_front import call
from tests.gateway.test_prometheus import DECISION

LIMITS = {
    "failed_keys_per_minute": 1000,
    "key": GENEROUS,
    "tenant": {**GENEROUS, "monthly_budget": 40.0},
}
REPORT = """<!doctype html><html><head><title>{title}</title>
<link rel="stylesheet" href="style.css"><style>p {{ color: rgb(1, 2, 3); }}</style></head>
<body><p>What the corpus holds</p><script>
try {{ document.body.dataset.key = String(sessionStorage.length); }}
catch (error) {{ document.body.dataset.key = error.name; }}
</script></body></html>"""


def write_history(folder: Path) -> None:
    """Releases, requests of a day, a verdict and reports, by the functions that write them."""
    book = Accounts(database.connect(), Limits.model_validate(LIMITS))
    for number in range(120):
        key = Key(f"00000000000{number % 2}", ("shop", "bank")[number % 2], Role.ASKER)
        order = Order(f"{number:032x}", key, "ada", UNIT // 2)
        book.open(order)
        status = "failed" if number % 20 == 0 else "ok"
        book.close(order, Outcome(status, "r-3f2a9c01b7de", Tokens(700, 40), UNIT // 3))
    spread_over_the_day()
    live_routes.write([("r-3f2a9c01b7de", 0.8), ("r-81d0c55e2f9a", 0.2)])
    ledger.append(
        ledger.Event(
            kind="released",
            step="release",
            release_id="r-3f2a9c01b7de",
            candidate=None,
            who="ada",
            why="reads the new manual",
            when=ledger.now(),
            scores={},
            seen={},
            champion=None,
        )
    )
    release_page.write("r-3f2a9c01b7de")
    reports = folder / "data/reports"
    (reports / "drift").mkdir(parents=True)
    (reports / "drift/verdict.json").write_text(json.dumps(DECISION))
    (reports / "drift/index.html").write_text(REPORT.format(title="Windows of traffic"))
    (reports / "corpus.html").write_text(REPORT.format(title="Corpus"))
    (reports / "style.css").write_text("p { font-size: 33px; }")
    (reports / "secret.json").write_text("{}")
    (folder / "data/private.html").write_text("not a report")


def spread_over_the_day() -> None:
    """Give the requests times within the last day, most of them in its middle."""
    table = database.REQUESTS
    with database.connect().begin() as connection:
        ids = [row.id for row in connection.execute(table.select())]
        for number, request_id in enumerate(ids):
            hour = 23 - (number % 12) - (number // 12 if number % 3 else 0)
            change = table.update().where(table.c.id == request_id)
            connection.execute(change.values(time=time.time() - hour * 3600 - 60))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with enter_new_clone(tmp_path_factory.mktemp("operator") / "clone") as folder:
        write_history(folder)
        yield folder


@pytest.fixture(scope="module")
def url(clone: Path) -> Iterator[str]:
    with run_gateway(limits=LIMITS) as address:
        yield address


@pytest.fixture(scope="module")
def key(clone: Path) -> str:
    return keys.create(database.connect(), "operation", Role.OPERATOR)


@pytest.fixture
def page(browser: Browser, url: str, key: str, complaints: list[str]) -> Iterator[Page]:
    viewport = {"width": 1100, "height": 900}
    with open_with_key(browser, f"{url}/operator", key, complaints, viewport=viewport) as page:
        yield page


def test_only_an_operator_reads_the_overview(url: str, key: str) -> None:
    assert call(url, "/v1/operator").status == 401
    reviewer = keys.create(database.connect(), "shop", Role.REVIEWER)
    assert call(url, "/v1/operator", key=reviewer).status == 403
    overview = call(url, "/v1/operator", key=key).body
    names = {"live", "traffic", "costs", "budgets", "drift", "events", "runs"}
    assert {name for name in names if overview[name]["problem"] is not None} == set()
    assert sum(overview["traffic"]["content"]["requests"]) == 120
    assert sum(overview["traffic"]["content"]["answered"]) == 114
    assert overview["costs"]["content"]["total"] == pytest.approx(40.0, abs=1e-6)


def test_a_part_that_cannot_be_read_does_not_hide_the_others(
    url: str, key: str, clone: Path
) -> None:
    path = clone / "data/reports/drift/verdict.json"
    text = path.read_text()
    path.write_text("{")
    try:
        overview = call(url, "/v1/operator", key=key).body
    finally:
        path.write_text(text)
    assert overview["drift"]["content"] is None
    assert "verdict.json" in overview["drift"]["problem"]
    assert overview["costs"]["problem"] is None


def test_a_report_takes_a_ticket_that_ends_with_its_key(url: str, key: str) -> None:
    links = {
        link["path"]: link["url"] for link in call(url, "/v1/operator", key=key).body["reports"]
    }
    assert set(links) == {"corpus.html", "drift/index.html", "releases/index.html"}
    report = call(url, links["corpus.html"])
    assert report.status == 200
    assert report.headers["content-security-policy"].startswith("sandbox allow-scripts")
    ticket = links["corpus.html"].split("/")[2]
    key_id, ends, seal = ticket.split("-")
    guesses = [f"{key_id}-{int(ends) + 9999}-{seal}", f"{key_id}-1-{seal}", "x", f"{ticket}0"]
    for guess in [*guesses, "ａ-９９９９９９９９９９９-0".encode().hex()]:
        assert call(url, f"/reports/{guess}/corpus.html").status == 404
    for path in ("secret.json", "../private.html", "..%2fprivate.html", "/etc/hostname", "drift"):
        assert call(url, f"/reports/{ticket}/{path}").status == 404
    other = keys.create(database.connect(), "operation", Role.OPERATOR)
    (link, *_) = call(url, "/v1/operator", key=other).body["reports"]
    keys.revoke(database.connect(), other.split("-")[1])
    assert call(url, link["url"]).status == 404


@needs_browser
def test_the_page_shows_release_traffic_cost_drift_and_releases(
    page: Page, complaints: list[str]
) -> None:
    expect(page.locator("#live")).to_contain_text("r-3f2a9c01b7de")
    expect(page.locator("#live")).to_contain_text("20 % of the askers: r-81d0c55e2f9a")
    expect(page.locator("#traffic")).to_contain_text("120 requests, 95 % answered")
    expect(page.locator("#drift")).to_contain_text("Drift in new_topic.")
    expect(page.locator("#costs tbody tr")).to_have_count(2)
    expect(page.locator("#budgets meter")).to_have_count(2)
    expect(page.locator("#events")).to_contain_text("reads the new manual")
    assert page.locator(".problem:visible").count() == 0
    assert complaints == []


@needs_browser
def test_a_release_leads_to_what_every_decision_about_it_saw(
    page: Page, complaints: list[str]
) -> None:
    with page.context.expect_page() as opened:
        page.locator("#events").get_by_role("link", name="r-3f2a9c01b7de").click()
    report = opened.value
    expect(report.get_by_role("heading", name="Release r-3f2a9c01b7de")).to_be_visible()
    report.get_by_role("link", name="All releases").click()
    expect(report.get_by_role("link", name="r-3f2a9c01b7de")).to_be_visible()
    assert complaints == []


@needs_browser
def test_a_report_opens_and_reaches_neither_the_key_nor_other_servers(
    page: Page, url: str, complaints: list[str]
) -> None:
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Corpus").click()
    report = opened.value
    expect(report.get_by_text("What the corpus holds")).to_be_visible(timeout=PATIENCE)
    style = "getComputedStyle(document.querySelector('p'))"
    assert report.evaluate(f"{style}.color") == "rgb(1, 2, 3)"
    assert report.evaluate(f"{style}.fontSize") == "33px", "its own style sheet is loaded"
    assert report.evaluate("document.body.dataset.key") == "SecurityError"
    # The gateway sends no such header, and the page's policy allows no such connection.
    fetched = "fetch('/v1/operator').then(() => 'read', () => 'refused')"
    assert report.evaluate(fetched) == "refused"
    assert complaints == []


@needs_browser
def test_a_key_of_another_role_is_named_and_not_kept(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}/operator")
    asker = keys.create(database.connect(), "shop", Role.ASKER)
    page.get_by_label("Key", exact=True).fill(asker)
    page.keyboard.press("Enter")
    expect(page.locator("#key-problem")).to_contain_text("role operator", timeout=PATIENCE)
    assert page.evaluate("Object.keys(sessionStorage)") == []
    page.close()


@needs_browser
def test_dark_and_light_are_a_choice_that_stays(page: Page) -> None:
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Change between dark and light").click()
    page.reload()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(15, 20, 26)")
