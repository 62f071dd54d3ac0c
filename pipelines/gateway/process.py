"""The gateway as a process of its own beside Triton and Weaviate: started, watched, ended."""

import contextlib
import http.client
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from pipelines.config.gateway import GatewayConfig
from pipelines.errors import UserError
from pipelines.gateway import tls
from pipelines.system import paths, processes

COMMAND = [sys.executable, "-m", "pipelines", "gateway"]
START_SECONDS = 180  # on a busy machine; a few seconds on a quiet one
STOP_SECONDS = 30
TIMEOUT_SECONDS = 5
POLL_SECONDS = 0.1
PAUSE_SECONDS = 5.0  # between two starts of a gateway that ends by itself
NUM_LOG_LINES = 6
EVERY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104 (addresses that are not for asking)


@contextmanager
def hold(config: GatewayConfig) -> Iterator[Callable[[], None]]:
    """Run the gateway until the block ends; what it gives starts it again if it has ended.

    Raises UserError with its own last lines if it does not start.
    """
    if not processes.is_free(config.port, config.host):
        raise UserError(
            f"another program listens on {config.host}:{config.port}: end it, or set gateway.port "
            "in params.yaml"
        )
    tls.check(config)
    holder = _Holder()
    try:
        holder.start()
        holder.wait(config)
        yield holder.revive
    finally:
        holder.stop()


def url(config: GatewayConfig) -> str:
    """Where this machine reaches it."""
    scheme = "http" if config.tls_certificate is None else "https"
    return f"{scheme}://{_host(config)}:{config.port}"


class _Holder:
    """The process and when it was started."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._start_time = 0.0
        self._log = paths.state_folder() / "gateway/gateway.log"

    def start(self) -> None:
        self._start_time = time.monotonic()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=processes.end_with_parent,  # noqa: PLW1509
            )

    def wait(self, config: GatewayConfig) -> None:
        """Until it answers."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not _is_healthy(config):
            if self._process.poll() is not None or time.monotonic() > deadline:
                lines = self._log.read_text(errors="replace").splitlines()[-NUM_LOG_LINES:]
                text = "\n  ".join(lines)
                raise UserError(f"the gateway did not start. Last lines of {self._log}:\n  {text}")
            time.sleep(POLL_SECONDS)

    def revive(self) -> None:
        """Start it again if it has ended by itself, not more often than every PAUSE_SECONDS."""
        assert self._process is not None
        has_ended = self._process.poll() is not None
        if has_ended and time.monotonic() - self._start_time > PAUSE_SECONDS:
            print(
                f"the gateway had ended by itself; starting it again (see {self._log})", flush=True
            )
            self.start()

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self._process.kill()
        self._process.wait()


def _is_healthy(config: GatewayConfig) -> bool:
    connection = _connect(config)
    try:
        connection.request("GET", "/healthz")
        with connection.getresponse() as response:
            return response.status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _connect(config: GatewayConfig) -> http.client.HTTPConnection:
    """With TLS, to who has the very certificate of the settings, whatever name stands in it."""
    host = _host(config)
    if config.tls_certificate is None:
        return http.client.HTTPConnection(host, config.port, timeout=TIMEOUT_SECONDS)
    context = ssl.create_default_context(cafile=config.tls_certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return http.client.HTTPSConnection(host, config.port, timeout=TIMEOUT_SECONDS, context=context)


def _host(config: GatewayConfig) -> str:
    return "127.0.0.1" if config.host in EVERY_INTERFACE else config.host
