"""The owner of a token asks a real assistant: by OpenAI's client, as a batch, on the page."""

import datetime
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from playwright.sync_api import Browser, expect

from pipelines.gateway import costs, database, token_owners
from pipelines.serving import client, gateway_client
from tests.gateway.browsers import PATIENCE, needs_browser, open_with_key
from tests.gateway.conftest import run_gateway
from tests.gateway.issuers import Issuer, settings
from tests.gateway.test_batches import begin, chat_line, results, wait_for_end
from tests.gateway.test_openai import QUESTION, messages, record_of, row_of
from tests.gateway.test_page import ask


@pytest.fixture(scope="module")
def url(assistant: Path, issuer: Issuer) -> Iterator[str]:
    with run_gateway(oidc=settings(issuer.url)) as address:
        yield address


def test_an_answer_is_logged_and_paid_for_by_the_tokens_owner_and_tenant(
    url: str, issuer: Issuer
) -> None:
    asker = OpenAI(base_url=f"{url}/v1", api_key=issuer.token(team="lab"), max_retries=0)
    raw = asker.chat.completions.with_raw_response.create(
        model="assistant", messages=messages(QUESTION)
    )
    assert raw.parse().choices[0].message.content
    request_id = raw.headers["x-request-id"]
    record = record_of(request_id)
    key_id = token_owners.owner_id(issuer.url, "ada")
    assert (record.key_id, record.tenant, record.status) == (key_id, "lab", "ok")
    assert row_of(request_id)["tenant"] == "lab"
    month = f"{datetime.datetime.now(datetime.UTC):%Y-%m}"
    bills = {bill.name: bill for bill in costs.bills(database.connect(), month, "key")}
    assert bills[f"lab {key_id}"].num_answers == 1
    assert bills[f"lab {key_id}"].cost > 0
    stranger = OpenAI(base_url=f"{url}/v1", api_key=issuer.token(sub="bob"), max_retries=0)
    body = {"request_id": request_id, "thumb": "up"}
    with pytest.raises(openai.NotFoundError):
        stranger.post("/feedback", body=body, cast_to=object)
    assert asker.post("/feedback", body=body, cast_to=object)


def test_a_batch_of_a_tokens_owner_is_answered(url: str, issuer: Issuer) -> None:
    asker = OpenAI(base_url=f"{url}/v1", api_key=issuer.token(team="lab"), max_retries=0)
    batch = wait_for_end(asker, begin(asker, [chat_line("first")]))
    assert batch.status == "completed"
    (line,) = results(asker, batch.output_file_id)
    assert line["response"]["body"]["choices"][0]["message"]["content"]


def test_the_command_asks_with_a_token_too(
    url: str, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gateway_client.URL, url)
    monkeypatch.setenv(gateway_client.KEY, issuer.token())
    assert client.ask(QUESTION).text


@needs_browser
def test_a_token_is_pasted_into_the_page_where_a_key_would_be(
    browser: Browser, url: str, issuer: Issuer, complaints: list[str]
) -> None:
    now = int(time.time())
    token = issuer.token(iat=now - 10)
    with open_with_key(browser, url, f" {token}\n", complaints) as page:
        ask(page, QUESTION)
        assert complaints == []
        # When it has ended, the page asks for another one and says why.
        old = issuer.token(iat=now - 20, exp=now - 10)
        page.evaluate("token => sessionStorage.setItem('assistant-key', token)", old)
        page.get_by_label("Question").fill(QUESTION)
        page.keyboard.press("Enter")
        problem = page.locator("#key-problem")
        expect(problem).to_have_text(
            "no valid token: it has expired; get a new one", timeout=PATIENCE
        )
        page.get_by_label("Key", exact=True).fill(token)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_hidden(timeout=PATIENCE)


@needs_browser
def test_a_token_of_role_operator_opens_the_operators_page(
    browser: Browser, url: str, issuer: Issuer, complaints: list[str]
) -> None:
    token = issuer.token(sub="olga", groups=["operators"])
    with open_with_key(browser, f"{url}/operator", token, complaints) as page:
        expect(page.locator("#live")).to_contain_text("r-one", timeout=PATIENCE)
