"""OpenAI's own client asks the assistant through the gateway, as it would ask OpenAI."""

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlparse

import openai
import pytest
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, OpenAI
from pydantic import SecretStr

from pipelines.gateway import database
from pipelines.gateway.database import REQUESTS
from pipelines.gateway.keys import Role
from pipelines.serving import locations, recent_traffic
from tests.gateway.conftest import GENEROUS, MAX_WAITING
from tests.serving.conftest import QUESTIONS

QUESTION = QUESTIONS[0]
Messages = list[dict[str, Any]]


@pytest.fixture(scope="module")
def client(gateway: str, new_key: Callable[..., str]) -> OpenAI:
    return OpenAI(base_url=f"{gateway}/v1", api_key=new_key(), max_retries=0)


def messages(*texts: str) -> Any:
    """A conversation in which the user and the assistant take turns."""
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]


def row_of(request_id: str) -> dict[str, Any]:
    """The row of a request, as soon as it is in the traffic log."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for row in recent_traffic.requests(locations.traffic_folder(), 0.0):
            if row["request_id"] == request_id:
                return row
        time.sleep(0.1)
    raise AssertionError(f"{request_id} is not in the log")


def record_of(request_id: str) -> Any:
    """The row of a request in the gateway's database."""
    with database.reading(database.connect()) as connection:
        return connection.execute(REQUESTS.select().where(REQUESTS.c.id == request_id)).one()


def test_an_answer_comes_with_citations_usage_and_the_release(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="assistant", messages=messages(QUESTION), user="ada"
    )
    completion = raw.parse()
    (choice,) = completion.choices
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert completion.usage is not None
    assert completion.usage.total_tokens > completion.usage.completion_tokens > 0
    annotations = choice.message.annotations
    assert annotations is not None
    assert annotations[0].url_citation.url.startswith("handbook/")
    assert annotations[0].model_extra is not None
    assert annotations[0].model_extra["passage"]["text"].endswith(".")
    request_id = raw.headers["x-request-id"]
    assert raw.headers["x-release-id"] == "r-one"
    row = row_of(request_id)
    assert (row["tenant"], row["question"], row["release_id"]) == ("shop", QUESTION, "r-one")
    record = record_of(request_id)
    assert record.cost == pytest.approx(row["cost"] * 1e9)
    assert (record.status, record.follow_up) == ("ok", None)


def test_a_stream_holds_the_same_answer_in_pieces(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="assistant", messages=messages(QUESTION))
    chunks = list(
        client.chat.completions.create(
            model="assistant",
            messages=messages(QUESTION),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert len(pieces) > 3
    assert "".join(piece or "" for piece in pieces) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    (last,) = chunks[-2].choices
    assert last.finish_reason == whole.choices[0].finish_reason
    assert (last.delta.model_extra or {})["annotations"]


def test_the_asynchronous_client_asks_many_at_once(
    gateway: str, new_key: Callable[..., str]
) -> None:
    async def ask_all() -> list[Any]:
        async with AsyncOpenAI(base_url=f"{gateway}/v1", api_key=new_key()) as client:
            questions = [
                client.chat.completions.create(model="assistant", messages=messages(question))
                for question in QUESTIONS
            ]
            stream = await client.chat.completions.create(
                model="assistant", messages=messages(QUESTION), stream=True
            )
            pieces = [chunk async for chunk in stream]
            return [*await asyncio.gather(*questions), pieces]

    *answers, pieces = asyncio.run(ask_all())
    assert len(pieces) > 3
    assert len({answer.id for answer in answers}) == len(QUESTIONS)
    assert all(answer.choices[0].message.content for answer in answers)


def test_a_follow_up_question_is_asked_with_what_it_depends_on(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="assistant",
        messages=messages("Who signs a release?", "A person.", "And why is that so?"),
    )
    request_id = raw.headers["x-request-id"]
    assert row_of(request_id)["question"] == "Who signs a release? And why is that so?"
    record = record_of(request_id)
    assert record.follow_up == "And why is that so?"
    assert record.standalone == "Who signs a release? And why is that so?"


@pytest.mark.parametrize("as_list", [True, False])
def test_nothing_after_a_stop_text_is_sent(client: OpenAI, as_list: bool) -> None:
    whole = client.chat.completions.create(model="assistant", messages=messages(QUESTION))
    text = whole.choices[0].message.content or ""
    stop = text[len(text) // 2 :][:3]
    expected = text[: text.index(stop)]
    stops: Any = [stop, "never said"] if as_list else stop
    answer = client.chat.completions.create(
        model="assistant", messages=messages(QUESTION), stop=stops
    )
    assert answer.choices[0].message.content == expected
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage == whole.usage
    stream = client.chat.completions.create(
        model="assistant", messages=messages(QUESTION), stop=stops, stream=True
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(pieces) == expected
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_too_many_questions_at_once_are_told_when_to_try_again(
    gateway: str, new_key: Callable[..., str]
) -> None:
    async def ask_all() -> list[Any]:
        async with AsyncOpenAI(
            base_url=f"{gateway}/v1", api_key=new_key(), max_retries=0
        ) as client:
            questions = [
                client.chat.completions.create(model="assistant", messages=messages(QUESTION))
                for _ in range(3 * MAX_WAITING)
            ]
            return await asyncio.gather(*questions, return_exceptions=True)

    outcomes = asyncio.run(ask_all())
    errors = [error for error in outcomes if isinstance(error, openai.InternalServerError)]
    overloads = [error for error in errors if error.code == "overloaded"]
    # On a busy machine others may have waited longer than the release allows.
    assert 0 < len(overloads) < len(outcomes), {str(error) for error in errors}
    for error in overloads:
        assert error.status_code == 503
        assert error.response.headers["retry-after"] == "1"


def test_langchain_asks_and_streams(gateway: str, new_key: Callable[..., str]) -> None:
    model = ChatOpenAI(
        model="assistant", base_url=f"{gateway}/v1", api_key=SecretStr(new_key()), temperature=0
    )
    answer = model.invoke(QUESTION)
    assert answer.content
    assert answer.usage_metadata is not None
    pieces = [chunk.text for chunk in model.stream(QUESTION)]
    assert len(pieces) > 3
    assert "".join(pieces) == answer.content


def test_models_and_embeddings_are_there_for_existing_clients(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["assistant", "embedder"]
    assert client.models.retrieve("embedder").id == "embedder"
    texts = ["The gate refuses a worse candidate.", "Weaviate holds vectors."]
    embeddings = client.embeddings.create(model="embedder", input=texts)
    plain = client.embeddings.create(model="embedder", input=texts[0], encoding_format="float")
    assert len(embeddings.data) == 2
    assert plain.data[0].embedding == pytest.approx(embeddings.data[0].embedding, abs=1e-5)
    assert sum(value**2 for value in plain.data[0].embedding) == pytest.approx(1.0, abs=1e-3)
    assert plain.usage.total_tokens == 9
    with pytest.raises(openai.BadRequestError, match="tokens, of which the encoder reads only"):
        client.embeddings.create(model="embedder", input="word " * 2000)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"n": 2}, "n"),
        ({"temperature": 0.7}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"extra_body": {"stop": [1]}}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2**40}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "Be rude."}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "Yes."}]}, "messages"),
        ({"extra_body": {"unheard_of": 1}}, "unheard_of"),
    ],
)
def test_what_cannot_be_honoured_is_refused_and_named(
    client: OpenAI, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            **{"model": "assistant", "messages": messages(QUESTION), **options}
        )
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_errors_are_those_that_the_client_knows(
    client: OpenAI, gateway: str, new_key: Callable[..., str]
) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4o", messages=messages(QUESTION))
    with pytest.raises(openai.BadRequestError, match="rejected: the question has 301 characters"):
        client.chat.completions.create(model="assistant", messages=messages("x" * 301))
    stranger = OpenAI(base_url=f"{gateway}/v1", api_key="ak-guess", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model="assistant", messages=messages(QUESTION))


def test_a_client_that_leaves_a_stream_cancels_it_and_takes_no_room(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="assistant", messages=messages(QUESTION), stream=True
    )
    request_id = next(stream).id.removeprefix("chatcmpl-")
    stream.close()
    deadline = time.monotonic() + 20
    while record_of(request_id).cost is None:
        assert time.monotonic() < deadline, "the request was never booked"
        time.sleep(0.1)
    # The answer may have been whole before its client left.
    assert record_of(request_id).status in ("cancelled", "ok")


def test_streams_that_are_cut_at_any_byte_take_no_room(
    gateway: str, new_key: Callable[..., str]
) -> None:
    body = json.dumps({"model": "assistant", "messages": messages(QUESTION), "stream": True})
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nAuthorization: Bearer {new_key()}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    address = urlparse(gateway)
    for num_sent in (10, 150, len(request) - 1):
        with socket.create_connection((address.hostname, address.port or 0)) as connection:
            connection.sendall(request[:num_sent])
    for num_bytes in range(1, 5000, 200):
        with socket.create_connection((address.hostname, address.port or 0)) as connection:
            connection.sendall(request)
            while num_bytes > 0 and (part := connection.recv(num_bytes)):
                num_bytes -= len(part)
    operator = OpenAI(base_url=gateway, api_key=new_key(role=Role.OPERATOR))
    deadline = time.monotonic() + 60
    while "gateway_under_way 0.0" not in operator.get("/metrics", cast_to=str):
        assert time.monotonic() < deadline, "a request is under way for ever"
        time.sleep(0.2)
    with database.reading(database.connect()) as connection:
        assert connection.execute(REQUESTS.select().where(REQUESTS.c.cost.is_(None))).all() == []


def test_nobody_chooses_the_release_that_answers(two_releases: None, client: OpenAI) -> None:
    releases: dict[int, set[str]] = {}
    for number in range(24):
        raw = client.chat.completions.with_raw_response.create(
            model="assistant",
            messages=messages(QUESTION),
            user=f"asker {number % 12}",
            extra_headers={"X-Request-Id": "always-the-same"},
        )
        assert raw.headers["x-request-id"] != "always-the-same"
        releases.setdefault(number % 12, set()).add(raw.headers["x-release-id"])
    assert all(len(seen) == 1 for seen in releases.values()), "an asker stays on one release"
    assert {"r-one", "r-two"} == set.union(*releases.values())


def test_curl_asks_in_one_line(gateway: str, new_key: Callable[..., str]) -> None:
    body = json.dumps({"model": "assistant", "messages": messages(QUESTION)})
    process = subprocess.run(
        ["curl", "-sS", "--fail-with-body", f"{gateway}/v1/chat/completions"]
        + ["-H", f"Authorization: Bearer {new_key()}"]
        + ["-H", "Content-Type: application/json", "-d", body],
        capture_output=True,
        check=True,
    )
    assert json.loads(process.stdout)["choices"][0]["message"]["content"]


def test_feedback_is_given_once_on_an_answer_of_the_own_tenant(
    client: OpenAI, gateway: str, new_key: Callable[..., str]
) -> None:
    answer = client.chat.completions.create(model="assistant", messages=messages(QUESTION))
    body = {"request_id": answer.id, "thumb": "down", "correction": "A decision.", "user": "ada"}
    stranger = OpenAI(base_url=f"{gateway}/v1", api_key=new_key("bank"), max_retries=0)
    with pytest.raises(openai.NotFoundError):
        stranger.post("/feedback", body=body, cast_to=object)
    client.post("/feedback", body=body, cast_to=object)
    with pytest.raises(openai.ConflictError):
        client.post("/feedback", body=body, cast_to=object)
    client.post("/feedback", body={**body, "user": "bob", "thumb": "up"}, cast_to=object)
    request_id = answer.id.removeprefix("chatcmpl-")
    thumbs = recent_traffic.thumbs(locations.traffic_folder(), 0.0)
    assert thumbs[request_id] == 1


def test_requests_at_once_are_limited_and_the_room_comes_back(
    limited_gateway: Callable[..., AbstractContextManager[str]], new_key: Callable[..., str]
) -> None:
    key = {**GENEROUS, "concurrent_requests": 2}
    limits = {"failed_keys_per_minute": 3, "key": key, "tenant": GENEROUS}
    with limited_gateway(limits=limits) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key=new_key(), max_retries=0)

        def ask(_: int) -> str:
            try:
                client.chat.completions.create(model="assistant", messages=messages(QUESTION))
            except openai.RateLimitError as error:
                return f"{error.code}, try again in {error.response.headers['retry-after']} s"
            return "answered"

        with ThreadPoolExecutor(12) as pool:
            outcomes = list(pool.map(ask, range(24)))
        assert set(outcomes) == {"answered", "key.concurrent_requests, try again in 1 s"}
        assert [ask(number) for number in range(4)] == ["answered"] * 4
