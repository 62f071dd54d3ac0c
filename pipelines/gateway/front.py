"""What every request passes first: bounds of size and time, its key or token, the answer's headers.

It stands before FastAPI, which would read a whole body before it looks for a key.
"""

import asyncio
import contextlib
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.config.gateway import Batches
from pipelines.gateway.api_errors import (
    ApiError,
    Forbidden,
    InvalidRequest,
    TooLarge,
    TooMany,
    TooSlow,
    WrongKey,
)
from pipelines.gateway.credentials import Credentials
from pipelines.gateway.file_store import too_large
from pipelines.gateway.keys import Key
from pipelines.gateway.state import Gateway

# Whoever is not named here needs a key.
OPEN_PATHS = frozenset({"/", "/operator", "/healthz", "/readyz", "/docs", "/openapi.json"})
REPORTS = "/reports/"  # each with a ticket in its address; see reports.py
OPEN_FOLDERS = ("/page/", "/docs/", REPORTS)
SWAGGER = "/docs"
UPLOADS = "/v1/files"
FORM_BYTES = 16 * 1024  # of a form, around its file
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SWAGGER_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
# Without the gateway's origin, so that no script of a report reaches the key.
REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; script-src 'unsafe-inline' "
    "'unsafe-eval' 'self'; style-src 'unsafe-inline' 'self'; img-src 'self' data: blob:; "
    "font-src 'self' data:; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'"
)
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}
# How long a client that has its refusal may go on sending, and how long it may pause.
LINGER_SECONDS = 5.0
LINGER_PAUSE_SECONDS = 0.5


class Front:
    """ASGI: the gateway's first and last step."""

    def __init__(self, app: ASGIApp, gateway: Gateway):
        self._app = app
        self._gateway = gateway
        self._credentials = Credentials(gateway.engine, gateway.config.oidc)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        assert scope["type"] == "http", "there are no web sockets"
        start = time.monotonic()
        request_id = uuid.uuid4().hex  # ours; what a client calls its request is not looked at
        scope.setdefault("state", {})["request_id"] = request_id
        incoming = Incoming(receive)
        write_seconds = self._gateway.config.write_seconds
        answer = AnswerSender(send, scope["path"], request_id, write_seconds)
        sender = LingeringSender(incoming, answer)
        try:
            await self._pass_on(scope, incoming, sender)
        except ApiError as error:
            if isinstance(error, TooMany):
                self._gateway.metrics.count_refusal(error.code or "")
            await error.response()(scope, incoming, sender)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._gateway.metrics.count_request(route, answer.status, time.monotonic() - start)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path not in OPEN_PATHS and not path.startswith(OPEN_FOLDERS):
            scope["state"]["key"] = await self._authenticate(scope)
        if path == UPLOADS and scope["method"] == "POST":
            await self._app(scope, self._upload(scope, receive), send)
            return
        body = await self._read(scope, receive)
        await self._app(scope, Replay(body, receive), send)

    async def _authenticate(self, scope: Scope) -> Key:
        """The key of a request. Raises ApiError; TooMany after too many wrong keys or tokens.

        What is valid always passes, whatever others at its address have tried.
        """
        scheme, _, value = _header(scope, b"authorization").partition(" ")
        text = value.strip() if scheme.lower() == "bearer" else ""
        try:
            return await self._credentials.check(text)
        except (WrongKey, Forbidden):
            address = scope["client"][0] if scope["client"] else "unknown"
            await self._gateway.limits.count_failure(address)
            raise

    def _upload(self, scope: Scope, receive: Receive) -> Receive:
        """What a file arrives by. Raises TooLarge if it says itself that it is too long."""
        config = self._gateway.config.batches
        length = _header(scope, b"content-length")
        if length.isdigit() and int(length) > config.max_file_bytes + FORM_BYTES:
            raise too_large(config)
        return UploadReceiver(receive, config)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The body, if it is not too long and comes in time."""
        most = self._gateway.config.max_body_bytes
        length = _header(scope, b"content-length")
        if length.isdigit() and int(length) > most:
            raise _too_large(most)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._gateway.config.read_seconds):
                is_complete = False
                while not is_complete:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise InvalidRequest("the client has left")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise _too_large(most)
                    is_complete = not message.get("more_body", False)
        except TimeoutError as error:
            seconds = self._gateway.config.read_seconds
            raise _too_slow(seconds, "gateway.read_seconds") from error
        return b"".join(parts)


class Incoming:
    """What the server receives of a request, and whether that is all of it."""

    def __init__(self, receive: Receive):
        self._receive = receive
        self.is_complete = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self.is_complete = True
        return message


class LingeringSender:
    """Ends a response only after the client has stopped sending, before the connection may close.

    A connection that is closed while its client sends is reset, and the client would see a broken
    pipe instead of the reason (RFC 9112, section 9.6).
    """

    def __init__(self, incoming: Incoming, send: Send):
        self._incoming = incoming
        self._send = send

    async def __call__(self, message: Message) -> None:
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if message["type"] == "http.response.start" and not self._incoming.is_complete:
            message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        if not is_last or self._incoming.is_complete:
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._linger()
        await self._send({"type": "http.response.body", "body": b""})

    async def _linger(self) -> None:
        """Read on until the client has sent everything, pauses, or goes on for too long.

        One limit at a time: `asyncio.wait_for` within a timeout swallows that timeout if something
        arrives in the same moment (CPython gh-86296), and a client could go on for ever.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + LINGER_SECONDS
        with contextlib.suppress(TimeoutError):
            while not self._incoming.is_complete and loop.time() < end:
                pause_end = min(end, loop.time() + LINGER_PAUSE_SECONDS)
                async with asyncio.timeout_at(pause_end):
                    await self._incoming()


class UploadReceiver:
    """Passes a file on as it arrives. Raises TooLarge or TooSlow beyond the bounds."""

    def __init__(self, receive: Receive, config: Batches):
        self._receive = receive
        self._config = config
        self._size = 0
        self._deadline = asyncio.get_running_loop().time() + config.upload_seconds

    async def __call__(self) -> Message:
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise _too_slow(
                self._config.upload_seconds, "gateway.batches.upload_seconds"
            ) from error
        self._size += len(message.get("body", b""))
        if self._size > self._config.max_file_bytes + FORM_BYTES:
            raise too_large(self._config)
        return message


class Replay:
    """Gives a body that was read already; then what the server says, such as that a client left."""

    def __init__(self, body: bytes, receive: Receive):
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        message = {"type": "http.request", "body": self._body, "more_body": False}
        self._body = None
        return message


class AnswerSender:
    """Adds headers to a response, and gives up on a client that does not take it."""

    def __init__(self, send: Send, path: str, request_id: str, write_seconds: float):
        self._headers = {
            **HEADERS,
            b"cross-origin-resource-policy": _readers(path),
            b"content-security-policy": _policy(path).encode(),
            b"x-request-id": request_id.encode(),
        }
        self._send = send
        self._write_seconds = write_seconds
        self.status = 0  # of a client that left before an answer

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            message["headers"] = [*message.get("headers", []), *self._headers.items()]
        async with asyncio.timeout(self._write_seconds):
            await self._send(message)


def _policy(path: str) -> str:
    """What a page at this address may load."""
    if path.startswith(REPORTS):
        return REPORT_POLICY
    if path == SWAGGER or path.startswith(f"{SWAGGER}/"):
        return SWAGGER_POLICY
    return POLICY


def _readers(path: str) -> bytes:
    """Whose pages may load this. A report has no origin, so its own style sheet is a stranger's."""
    return b"cross-origin" if path.startswith(REPORTS) else b"same-origin"


def _header(scope: Scope, name: bytes) -> str:
    """A header's value; empty if the request has none."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the request is longer than {most} bytes (gateway.max_body_bytes)")


def _too_slow(seconds: float, parameter: str) -> TooSlow:
    return TooSlow(f"the request did not arrive within {seconds:g} s ({parameter})")
