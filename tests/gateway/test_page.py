"""The page for people, in a real browser, in front of a real assistant."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from pipelines.serving import locations, recent_traffic
from tests.gateway.browsers import PATIENCE, needs_browser, open_with_key
from tests.serving.conftest import QUESTIONS

QUESTION = QUESTIONS[0]

pytestmark = needs_browser


@pytest.fixture
def page(
    browser: Browser, gateway: str, new_key: Callable[..., str], complaints: list[str]
) -> Iterator[Page]:
    """The page with a key, which was typed in."""
    with open_with_key(browser, gateway, new_key(), complaints) as page:
        yield page


def ask(page: Page, question: str) -> None:
    """Ask by the keyboard and wait for the whole answer."""
    page.get_by_label("Question").fill(question)
    page.keyboard.press("Enter")
    turn = page.locator(".turn").last
    expect(turn.locator(".asked")).to_have_text(question)
    expect(turn.get_by_text("Release r-one")).to_be_visible(timeout=PATIENCE)


def test_a_wrong_key_is_named_and_not_kept(browser: Browser, gateway: str) -> None:
    page = browser.new_page()
    page.goto(gateway)
    page.get_by_label("Key", exact=True).fill("ak-guess")
    page.keyboard.press("Enter")
    expect(page.locator("#key-problem")).to_contain_text("no valid key", timeout=PATIENCE)
    assert page.evaluate("Object.keys(sessionStorage)") == []
    page.close()


def test_an_answer_streams_and_its_citation_opens_with_the_passage(
    page: Page, complaints: list[str]
) -> None:
    ask(page, QUESTION)
    citation = page.get_by_text("[1] handbook/0.md")
    passage = page.get_by_text("The gate refuses a worse candidate.", exact=True)
    expect(passage).to_be_hidden()
    citation.focus()
    page.keyboard.press("Enter")
    expect(passage).to_be_visible()
    assert complaints == []


def test_a_thumb_and_a_correction_reach_the_log(page: Page, complaints: list[str]) -> None:
    ask(page, QUESTION)
    origin = page.locator(".origin").inner_text()
    page.get_by_role("button", name="Not helpful").click()
    page.get_by_label("What should it have said?").fill("It does.")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Thank you, noted.")).to_be_visible(timeout=PATIENCE)
    thumbs = recent_traffic.thumbs(locations.traffic_folder(), 0.0)
    assert thumbs[origin.rpartition(" ")[2]] == -1
    assert complaints == []


def test_a_conversation_goes_on_and_begins_anew(page: Page) -> None:
    bodies: list[dict[str, list[object]]] = []
    page.on("request", lambda request: bodies.append(request.post_data_json or {"messages": []}))
    ask(page, "Who signs a release?")
    ask(page, "And why?")
    assert [len(body["messages"]) for body in bodies] == [1, 3]
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    ask(page, QUESTION)
    assert len(bodies[-1]["messages"]) == 1


def test_markup_in_a_question_stays_text(page: Page, complaints: list[str]) -> None:
    ask(page, "<img src=x onerror=alert(1)> <b>bold</b>?")
    assert page.locator(".turn img, .turn b").count() == 0
    assert complaints == []


def test_dark_and_light_are_a_choice_that_stays(page: Page) -> None:
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Change between dark and light").click()
    page.reload()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(15, 20, 26)")


def test_a_question_that_is_refused_says_why(page: Page) -> None:
    page.get_by_label("Question").fill("x" * 301)
    page.keyboard.press("Enter")
    expect(page.get_by_text("the limit is 300")).to_be_visible(timeout=PATIENCE)


def test_the_description_of_the_api_loads_nothing_from_elsewhere(
    browser: Browser, gateway: str, complaints: list[str]
) -> None:
    page = browser.new_page()
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{gateway}/docs")
    expect(page.get_by_text("/v1/chat/completions").first).to_be_visible(timeout=PATIENCE)
    assert all(address.startswith((gateway, "data:")) for address in addresses)
    assert complaints == []
    page.close()
