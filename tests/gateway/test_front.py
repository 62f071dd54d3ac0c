"""What every request passes before the assistant is asked: there is none behind this gateway."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import pytest
from starlette.types import Message

from pipelines.gateway import database, front, keys
from pipelines.gateway.keys import Role
from tests.conftest import enter_new_clone
from tests.gateway.conftest import GENEROUS, run_gateway, write_params
from tests.gateway.servers import REDIS, run_redis, wait_for_room_in_minute
from tests.serving.conftest import ROOT

CHAT = "/v1/chat/completions"
BODY = {"model": "assistant", "messages": [{"role": "user", "content": "Who are you?"}]}
SECONDS = 2.0  # gateway.read_seconds of the gateway in this module
MAX_BYTES = 20_000


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with enter_new_clone(tmp_path_factory.mktemp("gateway") / "clone") as folder:
        yield folder


@pytest.fixture(scope="module")
def url(clone: Path) -> Iterator[str]:
    """A gateway without limits."""
    with run_gateway(read_seconds=SECONDS, max_body_bytes=MAX_BYTES) as address:
        yield address


def create_key(role: Role = Role.ASKER, tenant: str = "shop") -> str:
    return keys.create(database.connect(), tenant, role)


def call(
    url: str, path: str, body: Any = None, key: str | None = None, method: str | None = None
) -> Answer:
    """One request; a body of bytes is sent as it is."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url + path, content, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            text = response.read()
            is_json = response.headers["content-type"] == "application/json"
            return Answer(
                response.status, json.loads(text) if is_json else text, headers_of(response)
            )
    except urllib.error.HTTPError as error:
        return Answer(error.code, json.loads(error.read()), headers_of(error))


def headers_of(response: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def exchange(url: str, start: bytes, seconds: float = 20.0) -> tuple[bytes, float]:
    """What the gateway sends to who begins a request and waits, and after how many seconds."""
    parts = urlparse(url)
    begin = time.monotonic()
    with socket.create_connection((parts.hostname, parts.port or 0), seconds) as connection:
        connection.sendall(start)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received, time.monotonic() - begin


def allow(**allowance: Any) -> dict[str, Any]:
    """Limits of a key."""
    key = {**GENEROUS, **allowance}
    return {"failed_keys_per_minute": 3, "key": key, "tenant": GENEROUS}


def test_without_a_key_nothing_is_read_or_done_however_an_address_is_spelt(url: str) -> None:
    paths = call(url, "/openapi.json").body["paths"]
    assert {CHAT, "/v1/embeddings", "/v1/feedback", "/v1/models", "/metrics"} <= set(paths)
    guesses = ["//", "/V1/models", "/v1/../v1/models", "/page", "/unknown"]
    for path in [*paths, *guesses]:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            answer = call(url, path, method=method)
            is_open = path in ("/healthz", "/readyz")
            assert is_open or answer.status == 401, f"{method} {path}: {answer.status}"
            assert is_open or answer.body["error"]["type"] == "authentication_error"


def test_files_outside_the_page_are_not_served(url: str) -> None:
    guesses = ["/page/../app.py", "/page/..%2fapp.py", "/page//etc/passwd", "/docs/../keys.py"]
    for path in [*guesses, "/docs%2f..%2fmetrics", "/page/../v1/models"]:
        assert call(url, path).status in (401, 404)


def test_a_key_opens_what_its_role_may(url: str) -> None:
    assert call(url, "/v1/models", key=create_key()).status == 200
    refusal = call(url, "/metrics", key=create_key(Role.REVIEWER))
    assert (refusal.status, refusal.body["error"]["type"]) == (403, "permission_error")
    metrics = call(url, "/metrics", key=create_key(Role.OPERATOR))
    assert b'gateway_requests_total{route="/v1/models",status="200"}' in metrics.body


def test_a_revoked_key_is_refused_at_once(url: str) -> None:
    key = create_key()
    assert call(url, "/v1/models", key=key).status == 200
    keys.revoke(database.connect(), key.split("-")[1])
    assert call(url, "/v1/models", key=key).code == "invalid_api_key"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"model": "assistant", "messages": NaN}',
        b'{"model": "assistant", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "assistant", "messages": [{"role": "robot", "content": "x"}]}',
        b'{"model": "assistant", "messages": [{"role": "user", "content": "a"}], "n": "1"}',
        b"[" * 15_000,
        json.dumps({**BODY, "messages": [*BODY["messages"]] * 51}).encode(),
        json.dumps({**BODY, "user": "x" * 300}).encode(),
    ],
)
def test_a_broken_body_is_the_clients_mistake(url: str, body: bytes) -> None:
    answer = call(url, CHAT, body, create_key())
    assert (answer.status, answer.body["error"]["type"]) == (400, "invalid_request_error")


def test_a_long_body_is_refused_before_it_is_read(url: str) -> None:
    key = create_key()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    announced, seconds = exchange(url, f"{head}Content-Length: 999999\r\n\r\n".encode())
    assert announced.startswith(b"HTTP/1.1 413")
    assert seconds < SECONDS
    chunk = f"{MAX_BYTES + 1:x}\r\n".encode() + b"x" * (MAX_BYTES + 1) + b"\r\n"
    streamed, _ = exchange(url, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk)
    assert streamed.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("path", [CHAT, "/nowhere"])
def test_a_client_that_sends_much_reads_why_it_is_refused(url: str, path: str) -> None:
    """A refusal that closed the connection at once would reset it under the client's hands."""
    body = b"x" * 3_000_000
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    key = f"Authorization: Bearer {create_key()}\r\n".encode()
    for _ in range(5):
        assert exchange(url, head + length + body)[0].startswith(b"HTTP/1.1 401")
        assert exchange(url, head + key + length + body)[0].startswith(b"HTTP/1.1 413")


def test_a_client_that_never_stops_sending_is_hung_up_on(url: str) -> None:
    parts = urlparse(url)
    begin = time.monotonic()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port or 0), 20) as connection:
        connection.sendall(head.encode())
        with pytest.raises(OSError, match="reset|pipe"):
            send_for_ever(connection)
    assert time.monotonic() - begin < front.LINGER_SECONDS + 5


def send_for_ever(connection: socket.socket) -> None:
    end = time.monotonic() + 4 * front.LINGER_SECONDS
    while time.monotonic() < end:
        connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        time.sleep(0.01)


def test_a_limit_that_ends_while_something_arrives_still_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of these clients sends something in the very moment in which its time is over."""
    monkeypatch.setattr(front, "LINGER_SECONDS", 0.02)

    async def linger() -> list[Message]:
        begin = time.monotonic()
        answers: list[Message] = []

        async def receive() -> Message:
            seconds = time.monotonic() - begin
            assert seconds < 5, "it goes on for ever"
            await asyncio.sleep(0.001 if seconds < 0.019 else 0)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message: Message) -> None:
            answers.append(message)

        sender = front.LingeringSender(front.Incoming(receive), send)
        await sender({"type": "http.response.body", "body": b"no"})
        return answers

    for _ in range(40):
        assert [answer.get("more_body", False) for answer in asyncio.run(linger())] == [True, False]


@pytest.mark.parametrize("start", ["", "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_client_that_does_not_finish_its_head_is_hung_up_on(url: str, start: str) -> None:
    received, seconds = exchange(url, start.encode())
    assert received == b""
    assert SECONDS * 0.9 < seconds < SECONDS + 5


def test_a_client_that_does_not_finish_its_body_is_told_so(url: str) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {create_key()}\r\n"
    received, seconds = exchange(url, f"{head}Content-Length: 100\r\n\r\n{{".encode())
    assert received.startswith(b"HTTP/1.1 408")
    assert seconds < SECONDS + 5


def test_without_an_assistant_the_gateway_says_so(url: str) -> None:
    answer = call(url, CHAT, BODY, create_key())
    assert (answer.status, answer.body["error"]["type"]) == (503, "server_error")
    assert call(url, "/healthz").status == 200
    readiness = call(url, "/readyz")
    assert (readiness.status, readiness.body["problems"]) == (503, ["release"])


def test_pages_may_load_nothing_from_elsewhere(url: str) -> None:
    for path in ("/", "/docs", "/page/app.js", "/healthz", "/nowhere"):
        policy = call(url, path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy or path == "/docs"
    assert "access-control-allow-origin" not in call(url, "/v1/models", method="OPTIONS").headers


def test_many_wrong_keys_are_refused_and_a_valid_one_is_not(clone: Path) -> None:
    with run_gateway(limits=allow()) as address:
        wait_for_room_in_minute()
        answers = [call(address, "/v1/models", key=f"ak-guess-{number}") for number in range(5)]
        assert [answer.status for answer in answers] == [401, 401, 401, 429, 429]
        assert answers[-1].code == "failed_keys_per_minute"
        assert call(address, "/v1/models", key=create_key()).status == 200


@pytest.mark.parametrize(
    ("allowance", "statuses", "code"),
    [
        ({"requests_per_minute": 2}, [503, 503, 429], "key.requests_per_minute"),
        ({"tokens_per_minute": 60}, [503, 503, 429], "key.tokens_per_minute"),
        # A request costs at most 0.5 + 200/1000 + 24/500 before it is asked, and 0.5 after.
        ({"monthly_budget": 1.5}, [503, 503, 429], "key.monthly_budget"),
        ({"monthly_budget": 0.1}, [429, 429, 429], "key.monthly_budget"),
    ],
)
def test_a_limit_is_named_with_when_to_try_again(
    clone: Path, allowance: dict[str, float], statuses: list[int], code: str
) -> None:
    with run_gateway(limits=allow(**allowance)) as address:
        key = create_key(tenant=f"tenant-{time.monotonic_ns()}")
        wait_for_room_in_minute()
        answers = [call(address, CHAT, BODY, key) for _ in statuses]
        assert [answer.status for answer in answers] == statuses
        assert answers[-1].code == code
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert call(address, CHAT, BODY, create_key(tenant="else")).status in (503, statuses[0])


@pytest.mark.skipif(REDIS is None, reason="Redis is not installed")
def test_gateways_with_one_redis_share_their_limits(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_redis() as redis:
        monkeypatch.setenv("GATEWAY_LIMITS_URL", redis)
        limits = allow(requests_per_minute=2)
        with run_gateway(limits=limits) as first, run_gateway(limits=limits) as second:
            key = create_key()
            wait_for_room_in_minute()
            statuses = [call(address, CHAT, BODY, key).status for address in (first, second, first)]
    assert statuses == [503, 503, 429]


def test_a_taken_port_is_named(url: str) -> None:
    write_params(port=urlparse(url).port)
    process = subprocess.run(
        [sys.executable, "-m", "pipelines", "gateway"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 1
    assert "another program listens on 127.0.0.1:" in process.stderr


def test_an_impossible_port_is_named_without_a_traceback(clone: Path) -> None:
    write_params()
    process = subprocess.run(
        [sys.executable, "-m", "pipelines", "gateway", "--port", "99999"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 1
    assert "--port: Input should be less than or equal to 65535" in process.stderr
    assert "Traceback" not in process.stderr
