"""Talks to a running Triton server: health, models, statistics, answers.

Everybody who reaches the server may ask it. Everything else (loading models, their files, shared
memory, logs, traces, statistics) takes the server's control key.
"""

import http.client
import json
import subprocess
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from pipelines.errors import UserError

if TYPE_CHECKING:
    from tritonclient.grpc import InferenceServerClient

LOAD_SECONDS = 240  # a model may take to load or to finish its requests
CALL_SECONDS = 10.0  # any other call may take
MARK = "ASSISTANT_SERVER"  # names the server that a process belongs to, in its environment
STUB = "triton_python_backend_stub"
# What the control key is for, in Triton's words: all that it serves but inference and health.
CONTROL_APIS = (
    *("metadata", "model-config", "model-repository", "statistics"),
    *("shared-memory", "trace", "logging"),
)
CONTROL_HEADER = "assistant-control"
CONTROL_METADATA = f"triton-grpc-protocol-{CONTROL_HEADER}"  # Triton's name for it in gRPC


@dataclass(frozen=True)
class Triton:
    """A running server. `process` is None if another process owns it.

    Without `control_key` it can be asked, but not controlled.
    """

    http_port: int
    grpc_port: int
    metrics_port: int
    log: Path
    process: subprocess.Popen[bytes] | None
    host: str = "127.0.0.1"
    mark: str = ""  # in the environment of the server's processes
    control_key: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    def client(self) -> "InferenceServerClient":
        """A gRPC client; the caller closes it."""
        from tritonclient.grpc import InferenceServerClient

        return InferenceServerClient(f"{self.host}:{self.grpc_port}")

    def is_alive(self) -> bool:
        return not self.has_ended() and self._is_healthy("live")

    def is_ready(self) -> bool:
        """Whether the server and the models that it was started with can answer."""
        return self._is_healthy("ready")

    def has_ended(self) -> bool:
        """Whether the process of a server that this process owns has ended."""
        return self.process is not None and self.process.poll() is not None

    def version(self) -> str:
        body = self._controlled_call("GET", "/v2")
        return str(json.loads(body)["version"])

    def load(self, model: str) -> None:
        """Load or reload a model of the repository. Raises UserError with the server's message."""
        self._control("load_model", model, f"Triton did not load {model}")

    def unload(self, model: str) -> None:
        """Returns when the model has finished what it was working on and is gone."""
        self._control("unload_model", model, f"Triton did not unload {model}")
        deadline = time.monotonic() + LOAD_SECONDS
        while self._is_unloading(model) and time.monotonic() < deadline:
            time.sleep(0.1)

    def ready_models(self) -> dict[str, list[str]]:
        """Model -> versions that are ready to answer, as the server says."""
        versions: dict[str, list[str]] = {}
        for entry in self._index():
            if entry.get("state") == "READY":
                versions.setdefault(entry["name"], []).append(entry["version"])
        return versions

    def processes(self) -> dict[str, list[int]]:
        """Model of the Python backend -> the processes in which it runs."""
        pids: dict[str, list[int]] = {}
        for process in server_processes(self.mark):
            try:
                command = process.cmdline()
            except psutil.Error:
                continue
            if len(command) > 1 and command[0].endswith(STUB):
                # .../<model>/<version>/model.py
                model = Path(command[1]).parts[-3]
                pids.setdefault(model, []).append(process.pid)
        return pids

    def statistics(self, model: str) -> list[dict[str, Any]]:
        """Triton's own counts of a model, one entry a version.

        Among them are `inference_count`, `execution_count` and `batch_stats`.
        """
        body = self._controlled_call("GET", f"/v2/models/{model}/stats")
        counts: list[dict[str, Any]] = json.loads(body)["model_stats"]
        return counts

    def metrics(self) -> str:
        """Prometheus text."""
        connection = http.client.HTTPConnection(self.host, self.metrics_port, timeout=CALL_SECONDS)
        return _exchange(connection, "GET", "/metrics")[1].decode()

    def generate(self, model: str, inputs: dict[str, Any], seconds: float = 60.0) -> dict[str, Any]:
        """One answer through the HTTP endpoint that curl uses.

        Raises UserError with the server's message.
        """
        status, body = self._call("POST", f"/v2/models/{model}/generate", inputs, seconds)
        if status != HTTPStatus.OK:
            raise UserError(_error_message(body))
        outputs: dict[str, Any] = json.loads(body)
        return outputs

    def last_lines(self, count: int = 12) -> str:
        """The end of the server's log, indented."""
        if not self.log.exists():
            return "(no log)"
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n  ".join(lines[-count:])

    def _is_healthy(self, kind: str) -> bool:
        try:
            status, _ = self._call("GET", f"/v2/health/{kind}")
        except OSError:
            return False
        return status == HTTPStatus.OK

    def _is_unloading(self, model: str) -> bool:
        for entry in self._index():
            if entry["name"] == model and entry.get("state") == "UNLOADING":
                return True
        return False

    def _index(self) -> list[dict[str, Any]]:
        body = self._controlled_call("POST", "/v2/repository/index", {})
        entries: list[dict[str, Any]] = json.loads(body)
        return entries

    def _control(self, command: str, model: str, failure: str) -> None:
        """Load or unload by gRPC.

        By HTTP it would hold one of that server's threads, and users' requests on the same thread
        would wait until it ends.
        """
        from tritonclient.utils import InferenceServerException

        client = self.client()
        try:
            control = getattr(client, command)
            control(model, {CONTROL_METADATA: self.control_key}, client_timeout=LOAD_SECONDS)
        except InferenceServerException as error:
            raise UserError(f"{failure}: {error.message() or error}") from error
        finally:
            client.close()

    def _controlled_call(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """The body of a call that takes the control key. Raises UserError if it is refused."""
        status, content = self._call(method, path, body)
        if status != HTTPStatus.OK:
            raise UserError(f"Triton refused {method} {path}: {_error_message(content)}")
        return content

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        seconds: float = CALL_SECONDS,
    ) -> tuple[int, bytes]:
        """Status and body of one HTTP call. Raises OSError if the server does not answer."""
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=seconds)
        return _exchange(connection, method, path, body, self.control_key)


def server_processes(mark: str) -> list[psutil.Process]:
    """Processes of one server: it and the models that it started."""
    processes: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            variables = process.environ()
        except (psutil.Error, OSError):  # it has ended meanwhile, or is another user's
            continue
        if variables.get(MARK) == mark:
            processes.append(process)
    return processes


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    control_key: str = "",
) -> tuple[int, bytes]:
    """One request on a connection, which is closed after it."""
    content = None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json"}
    if control_key:
        headers[CONTROL_HEADER] = control_key
    try:
        connection.request(method, path, content, headers)
        with connection.getresponse() as response:
            return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def _error_message(body: bytes) -> str:
    """The text of an error response."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace") or "no message"
