"""A real Triton server as a child process: started on loopback and free ports in explicit mode, asked, stopped.

Its program and Python backend come from the package nvidia-pytriton in .venv-triton; `infra/triton/install` completes them.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError

if TYPE_CHECKING:
    from tritonclient.grpc import InferenceServerClient

ENVIRONMENT = Path(sys.prefix).parent / ".venv-triton"  # beside the pipeline's own, whatever work tree this runs in
START_SECONDS, STOP_SECONDS = 240, 20
MARK = "ASSISTANT_SERVER"  # names the server that a process belongs to, in its environment
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where the Python backend keeps its regions)


def home() -> Path:
    """The folder of tritonserver. Raises UserError where Triton's environment is not there."""
    found = next(iter(sorted(ENVIRONMENT.glob("lib/python3.*/site-packages/pytriton/tritonserver"))), None)
    if found is None:
        raise UserError(f"there is no Triton server in {ENVIRONMENT}: `make setup` installs it (Linux on x86-64 or ARM)")
    return found


def stub() -> Path:
    """The Python backend's stub for the Python of Triton's environment."""
    version = home().parents[2].name.removeprefix("python")
    found = home() / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not found.exists():
        raise UserError(f"nvidia-pytriton has no stub for Python {version}: use one of {', '.join(sorted(path.name for path in (home() / 'python_backend_stubs').iterdir()))}")
    return found


@dataclass(frozen=True)
class Triton:
    """A running server. `process` is None where another process owns it."""

    http_port: int
    grpc_port: int
    metrics_port: int
    log: Path
    process: subprocess.Popen[bytes] | None
    host: str = "127.0.0.1"
    mark: str = ""  # in the environment of the server's processes

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    def client(self) -> "InferenceServerClient":
        """A gRPC client; the caller closes it."""
        from tritonclient.grpc import InferenceServerClient

        return InferenceServerClient(f"{self.host}:{self.grpc_port}")

    def alive(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            return False
        try:
            return self._asked("GET", "/v2/health/live")[0] == 200
        except OSError:
            return False

    def version(self) -> str:
        return str(json.loads(self._asked("GET", "/v2")[1])["version"])

    def load(self, model: str) -> None:
        """Load or reload a model of the repository. Raises UserError with the server's own message."""
        self._commanded("load_model", model, f"Triton did not load {model}")

    def unload(self, model: str) -> None:
        """Returns when the model has finished what it was working on and is gone."""
        self._commanded("unload_model", model, f"Triton did not unload {model}")
        deadline = time.monotonic() + START_SECONDS
        while any(entry["name"] == model and entry.get("state") == "UNLOADING" for entry in self._index()) and time.monotonic() < deadline:
            time.sleep(0.1)

    def ready(self) -> dict[str, list[str]]:
        """Model -> versions that are ready to answer, as the server says."""
        found: dict[str, list[str]] = {}
        for entry in self._index():
            if entry.get("state") == "READY":
                found.setdefault(entry["name"], []).append(entry["version"])
        return found

    def _index(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._asked("POST", "/v2/repository/index", {})[1])
        return found

    def processes(self, model: str) -> list[int]:
        """The processes in which a model of the Python backend runs."""
        found = []
        for pid in _marked(self.mark):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
                if words[0].endswith("triton_python_backend_stub") and f"/{model}/" in words[1]:
                    found.append(pid)
        return found

    def statistics(self, model: str) -> list[dict[str, Any]]:
        """Triton's own counts of a model, an entry a version (`inference_count`, `execution_count`, `batch_stats` ...)."""
        status, body = self._asked("GET", f"/v2/models/{model}/stats")
        if status != 200:
            raise UserError(f"Triton has no statistics of {model}: {body.decode(errors='replace')}")
        found: list[dict[str, Any]] = json.loads(body)["model_stats"]
        return found

    def metrics(self) -> str:
        """Prometheus text."""
        return self._asked("GET", "/metrics", port=self.metrics_port)[1].decode()

    def generate(self, model: str, inputs: dict[str, Any], seconds: float = 60.0) -> dict[str, Any]:
        """One answer through the HTTP endpoint that curl uses. Raises UserError with the server's message."""
        status, body = self._asked("POST", f"/v2/models/{model}/generate", inputs, seconds=seconds)
        if status != 200:
            raise UserError(_message(body))
        found: dict[str, Any] = json.loads(body)
        return found

    def last_lines(self, count: int = 12) -> str:
        return "\n  ".join(self.log.read_text(errors="replace").splitlines()[-count:]) if self.log.exists() else "(no log)"

    def _commanded(self, command: str, model: str, failure: str) -> None:
        """By gRPC: a load by HTTP holds one of that server's threads, and users' requests on the same thread wait until it ends."""
        from tritonclient.utils import InferenceServerException

        client = self.client()
        try:
            getattr(client, command)(model, client_timeout=START_SECONDS)
        except InferenceServerException as error:
            raise UserError(f"{failure}: {error.message() or error}") from error
        finally:
            client.close()

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None, seconds: float = 10.0, port: int | None = None) -> tuple[int, bytes]:
        import http.client

        asking = http.client.HTTPConnection(self.host, port or self.http_port, timeout=seconds)
        try:
            asking.request(method, path, body=None if body is None else json.dumps(body), headers={"Content-Type": "application/json"})
            with asking.getresponse() as answer:
                return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        finally:
            asking.close()


@contextmanager
def started(repository: Path, *, load: list[str], log: Path, environment: dict[str, str] | None = None, patient: bool = True) -> Iterator[Triton]:
    """A server on this repository with these models loaded; stopped when the block ends (`patient`: what it works on is finished first). Raises UserError with its own last message."""
    triton = start(repository, load=load, log=log, environment=environment, patient=patient)
    try:
        yield triton
    finally:
        stop(triton, patient=patient)


def start(repository: Path, *, load: list[str], log: Path, environment: dict[str, str] | None = None, patient: bool = True) -> Triton:
    """Start a server and wait until it and the models are ready."""
    program = home() / "bin/tritonserver"
    if not (home() / "backends/python" / stub().name).exists():
        raise UserError("the Triton server is not complete: `make setup` (infra/triton/install) completes it")
    ports = _free_ports(3)
    region = f"assistant-{os.getpid()}-{secrets.token_hex(4)}-"
    options = {
        "model-repository": repository, "backend-directory": home() / "backends", "model-control-mode": "explicit", "exit-timeout-secs": STOP_SECONDS if patient else 1, "exit-on-error": "true", "log-verbose": 0,
        "backend-config": f"python,shm-region-prefix-name={region}", "allow-gpu-metrics": "true", "allow-vertex-ai": "false",
        **{f"{kind}-address": "127.0.0.1" for kind in ("http", "grpc", "metrics")}, **dict(zip(("http-port", "grpc-port", "metrics-port"), ports, strict=True)),
    }  # fmt: skip
    command = [str(program), *(f"--{name}={value}" for name, value in options.items()), *(f"--load-model={model}" for model in load)]
    own = _environment({"ASSISTANT_GRPC": f"127.0.0.1:{ports[1]}", MARK: region, **(environment or {})})
    log.parent.mkdir(parents=True, exist_ok=True)
    sweep_shared_memory()
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=own, preexec_fn=_end_with_parent)  # noqa: PLW1509
    triton = Triton(ports[0], ports[1], ports[2], log, process, mark=region)
    try:
        _wait(triton)
    except BaseException:
        stop(triton)
        raise
    return triton


def stop(triton: Triton, *, patient: bool = True) -> None:
    """Ask the server to finish what it works on, then end it and its model processes."""
    process = triton.process
    assert process is not None, "only the owner stops a server"
    if process.poll() is None and patient:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS + 10)
    process.kill()
    process.wait()
    for left in _marked(triton.mark):  # a killed server leaves its model processes behind
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)
    sweep_shared_memory(triton.mark)


def _wait(triton: Triton) -> None:
    deadline = time.monotonic() + START_SECONDS
    assert triton.process is not None
    while time.monotonic() < deadline:
        if triton.process.poll() is not None:
            raise UserError(f"tritonserver ended with {triton.process.returncode}. Last lines of {triton.log}:\n  {triton.last_lines()}")
        with contextlib.suppress(OSError):
            if triton._asked("GET", "/v2/health/ready")[0] == 200:
                return
        time.sleep(0.1)
    raise UserError(f"tritonserver was not ready within {START_SECONDS} s. Last lines of {triton.log}:\n  {triton.last_lines()}")


def _environment(more: dict[str, str]) -> dict[str, str]:
    """The server's environment: Triton's own Python first, the library of exactly that Python, nothing of the caller's Python."""
    asked = "import sysconfig; print(sysconfig.get_config_var('LIBDIR')); print(sysconfig.get_config_var('INSTSONAME'))"
    said = subprocess.run([str(ENVIRONMENT / "bin/python"), "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    folder, library = Path(said[0]), said[1]
    if not (folder / library).exists() and subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout.find(library) < 0:
        raise UserError(f"the Python of {ENVIRONMENT} has no shared library {library}: install it (Debian: apt-get install libpython{library.removeprefix('libpython').split('.so')[0]})")
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")}
    return {
        **kept, "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ.get('PATH', '')}", "LD_LIBRARY_PATH": f"{folder}:{home().parents[1] / 'nvidia_pytriton.libs'}",
        "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1",
        "OMP_WAIT_POLICY": "passive",  # a waiting thread that spins takes the processor from the models beside it
        **more,
    }  # fmt: skip


def _message(body: bytes) -> str:
    """The text of an error answer."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace") or "no message"


def _free_ports(count: int) -> list[int]:
    """Ports that are free at this moment, below the range from which systems take outgoing ones."""
    found: list[int] = []
    while len(found) < count:
        port = 30001 + secrets.randbelow(2700)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found += [port] if port not in found else []
    return found


def _marked(mark: str) -> list[int]:
    """Processes of one server: it and the models that it started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def sweep_shared_memory(mark: str = "") -> None:
    """Remove this user's regions of servers whose starter has ended, and of the one with this mark: a killed server cannot."""
    for region in SHARED_MEMORY.glob("assistant-*-*"):
        starter = region.name.split("-")[1]
        left = starter.isdigit() and not Path(f"/proc/{starter}").exists()
        with contextlib.suppress(FileNotFoundError):  # another process sweeps too
            if (left or (mark and region.name.startswith(mark))) and region.stat().st_uid == os.geteuid():
                region.unlink()


def _end_with_parent() -> None:
    """Linux stops the server when its starter is killed, so that none is left that nobody stops."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
