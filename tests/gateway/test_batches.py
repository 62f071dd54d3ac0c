"""Batches by OpenAI's own client, in front of a real assistant."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import openai
import pytest
from openai import OpenAI

from pipelines.gateway import database, keys
from pipelines.gateway.keys import Role
from tests.gateway.conftest import gateway_config, run_gateway
from tests.gateway.test_openai import messages, record_of
from tests.serving.conftest import QUESTIONS

CHAT: Any = "/v1/chat/completions"
EMBEDDINGS: Any = "/v1/embeddings"
QUESTION = QUESTIONS[0]
MAX_FILE_BYTES = 100_000
SETTINGS: dict[str, Any] = {
    "max_file_bytes": MAX_FILE_BYTES,
    "upload_seconds": 3.0,
    "lines_at_once": 2,
}


def settings(**changes: Any) -> dict[str, Any]:
    """The section `gateway.batches`."""
    return {**gateway_config().batches.model_dump(), **SETTINGS, **changes}


@pytest.fixture(scope="module")
def url(assistant: Path) -> Iterator[str]:
    with run_gateway(batches=settings()) as address:
        yield address


@pytest.fixture
def client(url: str, new_key: Callable[..., str]) -> OpenAI:
    """Of a tenant that has no files and batches."""
    return connect(url, new_key(f"shop-{time.monotonic_ns()}"))


def connect(url: str, key: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def chat_line(name: str, question: str = QUESTION, **options: Any) -> dict[str, Any]:
    body = {"model": "assistant", "messages": messages(question), **options}
    return {"custom_id": name, "method": "POST", "url": CHAT, "body": body}


def upload(client: OpenAI, lines: list[dict[str, Any]]) -> str:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return client.files.create(file=("questions.jsonl", content), purpose="batch").id


def begin(client: OpenAI, lines: list[dict[str, Any]], endpoint: Any = CHAT) -> str:
    """A new batch of these lines; its id."""
    file_id = upload(client, lines)
    batch = client.batches.create(
        input_file_id=file_id, endpoint=endpoint, completion_window="24h", metadata={"for": "us"}
    )
    assert batch.status in ("validating", "in_progress")
    return batch.id


def wait_for_end(client: OpenAI, batch_id: str, seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        batch = client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        assert time.monotonic() < deadline, batch
        time.sleep(0.3)


def results(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    return [json.loads(text) for text in client.files.content(file_id).text.splitlines()]


def test_each_line_gets_what_a_live_request_would(client: OpenAI) -> None:
    live = client.chat.completions.create(model="assistant", messages=messages(QUESTION))
    lines = [
        chat_line("good"),
        chat_line("short", max_tokens=3),
        chat_line("hot", temperature=0.7),
        chat_line("long", "x" * 301),
        chat_line("unknown", model="gpt-4o"),
        chat_line("stream", stream=True),
    ]
    batch_id = begin(client, lines)
    batch = wait_for_end(client, batch_id)
    assert batch.status == "completed"
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (6, 2, 4)
    assert batch.metadata == {"for": "us"}
    assert batch.created_at <= batch.in_progress_at <= batch.completed_at <= batch.expires_at
    good, short = results(client, batch.output_file_id)
    assert (good["custom_id"], good["error"], good["response"]["status_code"]) == (
        "good",
        None,
        200,
    )
    body = good["response"]["body"]
    assert body["choices"][0]["message"]["content"] == live.choices[0].message.content
    assert body["choices"][0]["message"]["annotations"]
    assert short["response"]["body"]["usage"]["completion_tokens"] <= 3
    record = record_of(good["response"]["request_id"])
    assert record.status == "ok"
    assert record.cost > 0
    feedback = {"request_id": body["id"], "thumb": "up"}
    client.post("/feedback", body=feedback, cast_to=object)
    errors = {}
    for line in results(client, batch.error_file_id):
        error = line["response"]["body"]["error"]
        errors[line["custom_id"]] = (line["response"]["status_code"], error["param"], error["code"])
    assert errors["hot"][:2] == (400, "temperature")
    assert errors["long"][::2] == (400, "rejected")
    assert errors["unknown"] == (404, "model", "model_not_found")
    assert errors["stream"][:2] == (400, "stream")


def test_embeddings_are_made_in_batches_too(client: OpenAI) -> None:
    body = {"model": "embedder", "input": ["one", "two"]}
    line = {"custom_id": "a", "method": "POST", "url": EMBEDDINGS, "body": body}
    batch = wait_for_end(client, begin(client, [line], EMBEDDINGS))
    (result,) = results(client, batch.output_file_id)
    live = client.embeddings.create(model="embedder", input="two", encoding_format="float")
    vector = result["response"]["body"]["data"][1]["embedding"]
    assert vector == pytest.approx(live.data[0].embedding, abs=1e-5)


def test_files_and_batches_are_listed_and_files_deleted(client: OpenAI) -> None:
    lines = [chat_line("a")]
    file_ids = [upload(client, lines) for _ in range(3)]
    file = client.files.retrieve(file_ids[0])
    assert (file.filename, file.purpose, file.status) == ("questions.jsonl", "batch", "processed")
    assert json.loads(client.files.content(file.id).text) == lines[0]
    assert [item.id for item in client.files.list(limit=2)] == file_ids[::-1]
    assert client.files.delete(file_ids[1]).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(file_ids[1])
    assert [item.id for item in client.files.list(order="asc")] == file_ids[::2]
    batch_ids = [
        client.batches.create(input_file_id=name, endpoint=CHAT, completion_window="24h").id
        for name in file_ids[::2]
    ]
    assert [item.id for item in client.batches.list(limit=1)] == batch_ids[::-1]
    batch = wait_for_end(client, batch_ids[0])
    purposes = [item.purpose for item in client.files.list()]
    assert "batch_output" in purposes
    assert client.files.delete(batch.output_file_id).deleted


def test_what_is_wrong_in_an_input_is_told_with_its_line(client: OpenAI) -> None:
    batch = wait_for_end(client, begin(client, [chat_line("a"), chat_line("a")]))
    assert batch.status == "failed"
    assert [error.line for error in batch.errors.data] == [2]
    assert "custom_id 'a'" in batch.errors.data[0].message
    file_id = upload(client, [chat_line("a")])
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(
            input_file_id=file_id, endpoint="/v1/completions", completion_window="24h"
        )
    assert caught.value.param == "endpoint"
    with pytest.raises(openai.NotFoundError):
        client.batches.create(input_file_id="file-x", endpoint=CHAT, completion_window="24h")


def test_no_tenant_reads_what_is_another_ones(
    client: OpenAI, url: str, new_key: Callable[..., str]
) -> None:
    batch_id = begin(client, [chat_line("a")])
    batch = wait_for_end(client, batch_id)
    stranger = connect(url, new_key("bank", Role.OPERATOR))
    for call in (
        lambda: stranger.batches.retrieve(batch_id),
        lambda: stranger.batches.cancel(batch_id),
        lambda: stranger.files.content(batch.output_file_id),
        lambda: stranger.files.retrieve(batch.input_file_id),
        lambda: stranger.files.delete(batch.input_file_id),
        lambda: stranger.batches.create(
            input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"
        ),
    ):
        with pytest.raises(openai.NotFoundError):
            call()
    assert batch_id not in [item.id for item in stranger.batches.list()]
    assert batch.input_file_id not in [item.id for item in stranger.files.list()]


def test_only_files_of_batches_are_taken_and_none_that_are_too_long(
    client: OpenAI, url: str
) -> None:
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("a.jsonl", b"x"), purpose="assistants")
    with pytest.raises(openai.BadRequestError, match="expires_after"):
        client.files.create(
            file=("a.jsonl", b"x"),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
    for size in (MAX_FILE_BYTES + 1, 50 * MAX_FILE_BYTES):
        with pytest.raises(openai.APIStatusError) as caught:
            client.files.create(file=("a.jsonl", b"x" * size), purpose="batch")
        assert caught.value.status_code == 413
    for body in (b"x", b"--b\r\nnonsense"):
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        headers["Authorization"] = f"Bearer {client.api_key}"
        request = urllib.request.Request(f"{url}/v1/files", body, headers)
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request)
        assert refusal.value.code == 400


def upload_slowly(url: str, key: str, length: str, seconds: float) -> bytes:
    """What the gateway says to who sends a file piece by piece for so long."""
    address = urlparse(url)
    head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{length}\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    form = '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    with socket.create_connection((address.hostname, address.port or 0), 20) as connection:
        connection.sendall((head + form).encode())
        deadline = time.monotonic() + seconds
        connection.settimeout(0.2)
        response = b""
        while time.monotonic() < deadline and b"}}" not in response:
            try:
                connection.sendall(b"x" * 100)
                piece = connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if not piece:
                break
            response += piece
    return response


def test_a_file_that_does_not_arrive_in_time_is_refused(
    client: OpenAI, url: str, new_key: Callable[..., str]
) -> None:
    response = upload_slowly(url, new_key(), "Content-Length: 90000", 10.0)
    assert response.startswith(b"HTTP/1.1 408")
    assert b"gateway.batches.upload_seconds" in response
    stranger = upload_slowly(url, "ak-guess", "Content-Length: 90000", 10.0)
    assert stranger.startswith(b"HTTP/1.1 401")
    upload_slowly(url, new_key(), "Content-Length: 90000", 0.5)  # leaves in the middle
    assert client.models.list()


def test_a_revoked_key_ends_its_batches(url: str, new_key: Callable[..., str]) -> None:
    tenant = f"shop-{time.monotonic_ns()}"
    key = new_key(tenant)
    batch_id = begin(connect(url, key), [chat_line(f"line {number}") for number in range(100)])
    keys.revoke(database.connect(), key.split("-")[1])
    batch = wait_for_end(connect(url, new_key(tenant)), batch_id)
    assert batch.status == "cancelled"
    assert batch.errors.data[0].code == "key_ended"
    assert batch.request_counts.completed < 100
