"""Answers that are given again, by a real assistant's releases over a real index."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
from openai import OpenAI
from sqlalchemy import select

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.vectors import vectors as vectors_schema
from pipelines.errors import UserError
from pipelines.gateway import database
from pipelines.gateway.answer_cache import AnswerCache, normalize
from pipelines.gateway.database import ACCOUNTS, REPEATS
from pipelines.gateway.guards import WITHHELD
from pipelines.gateway.keys import Role
from pipelines.gateway.metrics import Metrics
from pipelines.serving import live_routes, live_server, locations, recent_traffic
from pipelines.vectorstore import alias_state, build_index, point_alias, withhold_alias
from tests.gateway.conftest import gateway_config, run_gateway
from tests.gateway.servers import wait_for_room_in_minute
from tests.gateway.test_guards import FLAG
from tests.gateway.test_openai import messages, record_of
from tests.serving.conftest import QUESTIONS

CACHE = {"entries": 100, "ttl_seconds": 600.0, "shared_between_tenants": False}
QUESTION = QUESTIONS[0]


class Reply(NamedTuple):
    """What a client gets."""

    text: str
    cache: str  # the header
    request_id: str
    release_id: str
    completion: Any


class Client:
    """Asks as somebody of a tenant."""

    def __init__(self, url: str, key: str):
        self.openai = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def ask(self, *texts: str, **options: Any) -> Reply:
        raw = self.openai.chat.completions.with_raw_response.create(
            **{"model": "assistant", "messages": messages(*texts), **options}
        )
        headers = raw.headers
        completion: Any = raw.parse()
        text = "" if options.get("stream") else completion.choices[0].message.content
        cache = headers.get("x-cache", "")
        return Reply(text, cache, headers["x-request-id"], headers["x-release-id"], completion)

    def cache_of(self, *texts: str, **options: Any) -> str:
        return self.ask(*texts, **options).cache


@pytest.fixture(scope="module")
def url(assistant: Path) -> Iterator[str]:
    with run_gateway(cache=CACHE) as address:
        yield address


@pytest.fixture
def shop(url: str, new_key: Callable[..., str]) -> Client:
    """Of a tenant for whom nothing is kept yet."""
    return Client(url, new_key(f"shop-{time.monotonic_ns()}"))


@pytest.fixture(scope="module")
def small_index(assistant: Path, models: Path) -> str:
    """The name of a collection with three of the passages."""
    folder = Path("small")
    chunks = list(files.read(models / "chunks.parquet", CHUNKS))[:3]
    files.write(folder / "chunks.parquet", CHUNKS, chunks)
    schema = vectors_schema(384).with_metadata(files.metadata(models / "vectors.parquet"))
    vectors = list(files.read(models / "vectors.parquet", vectors_schema(384)))[:3]
    files.write(folder / "vectors.parquet", schema, vectors)
    receipt = build_index(
        folder / "chunks.parquet", folder / "vectors.parquet", keep=3, sample=2, hybrid_alpha=0.7
    )
    return receipt.collection


def metric(url: str, key: str, name: str) -> float:
    text = OpenAI(base_url=url, api_key=key).get("/metrics", cast_to=str)
    lines = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(lines[0].split()[-1]) if lines else 0.0


def spent_by(tenant: str) -> int:
    query = select(ACCOUNTS.c.amount).where(ACCOUNTS.c.owner == f"tenant {tenant}")
    with database.reading(database.connect()) as connection:
        return int(connection.scalar(query) or 0)


def test_the_same_question_gets_the_same_answer_again_and_costs_nothing(
    shop: Client, url: str, new_key: Callable[..., str]
) -> None:
    operator = new_key(role=Role.OPERATOR)
    hits = metric(url, operator, 'gateway_cache_total{result="hit"}')
    first = shop.ask(QUESTION)
    spent = spent_by(record_of(first.request_id).tenant)
    again = shop.ask(f"  {QUESTION.replace(' ', '  ')}\n")
    assert (first.cache, again.cache) == ("miss", "hit")
    assert again.text == first.text
    message, repeated = (reply.completion.choices[0].message for reply in (first, again))
    assert repeated.annotations == message.annotations
    assert message.annotations
    assert again.completion.id != first.completion.id
    assert first.completion.usage.total_tokens > again.completion.usage.total_tokens == 0
    finish_reasons = [reply.completion.choices[0].finish_reason for reply in (first, again)]
    assert finish_reasons[0] == finish_reasons[1]
    record = record_of(again.request_id)
    assert (record.status, record.release_id, record.cost) == ("ok", "r-one", 0)
    assert (record.reserve, record.num_prompt_tokens, record.num_new_tokens) == (0, 0, 0)
    assert spent_by(record.tenant) == spent > 0
    with database.reading(database.connect()) as connection:
        is_meant = REPEATS.c.request_id == again.request_id
        repeat = connection.execute(REPEATS.select().where(is_meant)).one()
    assert repeat.original_id == first.request_id
    assert metric(url, operator, 'gateway_cache_total{result="hit"}') == hits + 1
    assert metric(url, operator, "gateway_cache_entries") >= 1
    logged_ids = {
        row["request_id"] for row in recent_traffic.requests(locations.traffic_folder(), 0)
    }
    assert again.request_id not in logged_ids


def test_another_question_or_setting_is_another_answer(shop: Client) -> None:
    text = shop.ask(QUESTION).text
    assert shop.cache_of(QUESTION) == "hit"
    assert shop.cache_of(QUESTION.upper()) == "miss"
    assert shop.cache_of(QUESTION, max_tokens=5) == "miss"
    assert shop.cache_of(QUESTION, max_tokens=5) == "hit"
    assert shop.cache_of("Who signs a release?", "A person.", "And why?") == "miss"
    assert shop.cache_of("Who signs a release?", "Nobody.", "And why?") == "hit"
    assert shop.cache_of("Who trains the adapter?", "A person.", "And why?") == "miss"
    stop = text[len(text) // 2 :][:3]
    cut = shop.ask(QUESTION, stop=stop)
    assert (cut.cache, cut.text) == ("hit", text[: text.index(stop)])
    assert shop.ask(QUESTION).text == text


def test_a_stream_is_kept_and_is_given_again(shop: Client) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    streams = [shop.ask(QUESTION, **options)]
    texts = ["".join(pieces_of(streams[0].completion))]
    streams.append(shop.ask(QUESTION, **options))
    chunks = list(streams[1].completion)
    texts.append("".join(pieces_of(chunks)))
    assert [stream.cache for stream in streams] == ["miss", "hit"]
    assert chunks[-1].usage.total_tokens == 0
    whole = shop.ask(QUESTION)
    assert whole.cache == "hit"
    assert texts == [whole.text, whole.text]
    annotations = whole.completion.choices[0].message.model_dump()["annotations"]
    assert chunks[-2].choices[0].delta.model_extra["annotations"] == annotations


def pieces_of(chunks: Any) -> list[str]:
    return [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]


def test_an_answer_that_its_client_left_is_not_kept(shop: Client) -> None:
    reply = shop.ask(QUESTION, stream=True)
    next(iter(reply.completion))
    reply.completion.close()
    deadline = time.monotonic() + 20
    while record_of(reply.request_id).cost is None:
        assert time.monotonic() < deadline, "the request was never booked"
        time.sleep(0.1)
    is_whole = record_of(reply.request_id).status == "ok"
    assert shop.cache_of(QUESTION) == ("hit" if is_whole else "miss")


def test_no_tenant_gets_the_answer_to_another_unless_all_read_the_same(
    shop: Client, url: str, new_key: Callable[..., str]
) -> None:
    shop.ask(QUESTION)
    colleague = record_of(shop.ask(QUESTION).request_id).tenant
    assert Client(url, new_key(colleague)).cache_of(QUESTION) == "hit"
    assert Client(url, new_key("bank")).cache_of(QUESTION) == "miss"
    guards = {"min_toxicity": 0.9, "default": FLAG, "tenants": {"strict": {"injection": "block"}}}
    with run_gateway(cache={**CACHE, "shared_between_tenants": True}, guards=guards) as shared:
        assert Client(shared, new_key("shop")).cache_of(QUESTION) == "miss"
        assert Client(shared, new_key("bank")).cache_of(QUESTION) == "hit"
        assert Client(shared, new_key("strict")).cache_of(QUESTION) == "miss"


def test_what_a_guard_withheld_is_not_kept(assistant: Path, new_key: Callable[..., str]) -> None:
    guards = {
        "min_toxicity": 1e-9,
        "default": {**FLAG, "toxic_answer": "block"},
        "tenants": {"lab": {"toxic_answer": "flag"}},
    }
    with run_gateway(cache={**CACHE, "shared_between_tenants": True}, guards=guards) as url:
        bank, lab = (Client(url, new_key(tenant)) for tenant in ("bank", "lab"))
        withheld = [bank.ask(QUESTION) for _ in range(2)]
        assert {(reply.text, reply.cache) for reply in withheld} == {(WITHHELD, "miss")}
        assert lab.cache_of(QUESTION) == "miss"
        assert lab.cache_of(QUESTION) == "hit"
        repeated = bank.ask(QUESTION)
        assert (repeated.text, repeated.cache) == (WITHHELD, "hit"), "the guards look again"
        assert repeated.completion.choices[0].finish_reason == "content_filter"


def test_what_was_refused_is_not_kept(shop: Client, url: str, new_key: Callable[..., str]) -> None:
    operator = new_key(role=Role.OPERATOR)
    entries = metric(url, operator, "gateway_cache_entries")
    for _ in range(2):
        with pytest.raises(openai.BadRequestError):
            shop.ask("x" * 301)
    assert metric(url, operator, "gateway_cache_entries") == entries


def test_an_asker_of_the_new_release_never_gets_the_old_ones_answer(
    two_releases: None, shop: Client
) -> None:
    releases: set[str] = set()
    for _ in range(2):
        for number in range(12):
            reply = shop.ask(QUESTION, user=f"asker {number}")
            assert reply.cache == ("hit" if reply.release_id in releases else "miss")
            releases.add(reply.release_id)
    assert releases == {"r-one", "r-two"}
    for number in range(12):
        user = f"asker {number}"
        new_question = f"{QUESTIONS[1]} {number}"
        release = shop.ask(new_question, user=user).release_id
        assert shop.ask(new_question, user=user).release_id == release, "a hit moves nobody"


def test_a_release_drops_what_the_one_before_it_said(
    two_releases: None, shop: Client, url: str, new_key: Callable[..., str]
) -> None:
    operator = new_key(role=Role.OPERATOR)
    live_routes.write([("r-one", 1.0)])
    assert [shop.cache_of(QUESTION) for _ in range(2)] == ["miss", "hit"]
    live_routes.write([("r-two", 1.0)])
    reply = shop.ask(QUESTION)
    assert (reply.release_id, reply.cache) == ("r-two", "miss")
    assert metric(url, operator, "gateway_cache_entries") == 1
    assert shop.cache_of(QUESTION) == "hit"
    live_routes.write([("r-one", 1.0)])
    reply = shop.ask(QUESTION)
    assert (reply.release_id, reply.cache) == ("r-one", "miss")


def test_a_moved_alias_drops_what_was_read_before(shop: Client, small_index: str) -> None:
    alias = live_server.alias("r-one")
    whole_index = alias_state(alias).current
    assert whole_index is not None
    assert [shop.cache_of(QUESTION) for _ in range(2)] == ["miss", "hit"]
    point_alias(alias, small_index)
    try:
        reply = shop.ask(QUESTION)
        assert reply.cache == "miss"
        uris = {note.url_citation.url for note in reply.completion.choices[0].message.annotations}
        assert uris <= {f"handbook/{number}.md" for number in range(3)}
        assert shop.cache_of(QUESTION) == "hit"
    finally:
        point_alias(alias, whole_index)
    assert shop.cache_of(QUESTION) == "miss"


def test_no_answer_is_given_again_while_nobody_says_what_it_would_be_read_from(
    shop: Client,
) -> None:
    assert [shop.cache_of(QUESTION) for _ in range(2)] == ["miss", "hit"]
    with withhold_alias(live_server.alias("r-one")), pytest.raises(openai.InternalServerError):
        shop.ask(QUESTION)
    assert shop.cache_of(QUESTION) == "hit"


def test_feedback_on_a_repeated_answer_is_on_the_request_that_the_log_has(shop: Client) -> None:
    first = shop.ask(QUESTION)
    again = shop.ask(QUESTION)
    assert again.cache == "hit"
    body = {"request_id": again.request_id, "thumb": "down"}
    shop.openai.post("/feedback", body=body, cast_to=object)
    with pytest.raises(openai.ConflictError):
        shop.openai.post("/feedback", body=body, cast_to=object)
    assert recent_traffic.thumbs(locations.traffic_folder(), 0.0)[first.request_id] == -1
    body = {"request_id": first.request_id, "thumb": "up"}
    shop.openai.post("/feedback", body=body, cast_to=object)
    assert recent_traffic.thumbs(locations.traffic_folder(), 0.0)[first.request_id] == 1


def test_no_more_answers_are_kept_than_allowed_and_none_for_longer(
    assistant: Path, new_key: Callable[..., str]
) -> None:
    first, second, third = QUESTIONS[:3]
    with run_gateway(cache={**CACHE, "entries": 2}) as url:
        client = Client(url, new_key())
        assert [client.cache_of(text) for text in (first, second)] == ["miss", "miss"]
        assert [client.cache_of(text) for text in (first, third)] == ["hit", "miss"]
        assert [client.cache_of(text) for text in (first, second)] == ["hit", "miss"]
    with run_gateway(cache={**CACHE, "ttl_seconds": 2.0}) as url:
        client = Client(url, new_key())
        assert [client.cache_of(first) for _ in range(2)] == ["miss", "hit"]
        time.sleep(2.1)
        assert client.cache_of(first) == "miss"


def test_a_hit_counts_as_a_request_and_not_as_tokens(
    assistant: Path, new_key: Callable[..., str]
) -> None:
    key = {
        "requests_per_minute": 4,
        "tokens_per_minute": 150,
        "concurrent_requests": None,
        "monthly_budget": 1.5,  # the first request sets aside at most 0.748 and costs over 0.5
    }
    limits = {"failed_keys_per_minute": 3, "key": key, "tenant": key}
    with run_gateway(cache=CACHE, limits=limits) as url:
        client = Client(url, new_key(f"shop-{time.monotonic_ns()}"))
        wait_for_room_in_minute()
        assert [client.cache_of(QUESTION) for _ in range(4)] == ["miss", "hit", "hit", "hit"]
        with pytest.raises(openai.RateLimitError, match="requests a minute"):
            client.ask(QUESTION)


def test_without_room_nothing_is_kept_and_nothing_is_said(
    gateway: str, new_key: Callable[..., str]
) -> None:
    client = Client(gateway, new_key())
    assert [client.cache_of(QUESTION) for _ in range(2)] == ["", ""]


def test_what_is_not_known_here_cannot_be_kept(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = gateway_config(cache=CACHE).cache
    metrics = Metrics(lambda: 0, list, clone)
    AnswerCache(config, metrics)
    monkeypatch.setenv("ASSISTANT_URL", "http://127.0.0.1:8000")
    with pytest.raises(UserError, match=r"gateway.cache.entries is 100, but ASSISTANT_URL"):
        AnswerCache(config, metrics)


def test_space_and_the_spelling_of_an_accent_do_not_make_another_question() -> None:
    assert normalize(" Is\tcafe\u0301  open?\n") == normalize("Is caf\u00e9 open?")
    assert normalize("Is IT down?") != normalize("Is it down?")
