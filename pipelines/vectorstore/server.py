"""One embedded Weaviate server a clone, shared by every process that needs it; or the server that WEAVIATE_URL names.

    python -m pipelines.vectorstore.server FOLDER    the keeper (started by `session`, not by hand)

A user of the server holds a shared lock on `users.lock`. The first one starts the keeper, which runs the server and stops it
when it gets that lock for itself, that is, when nobody holds it. The kernel drops the lock of a killed process, so no user can
be forgotten. All ports listen on 127.0.0.1: HTTP, gossip and consensus by the server's settings, gRPC and cluster data, which have none
(`adapters/handlers/grpc/server.go`), by `loopback`. Every request must carry this clone's random key besides.
"""

import fcntl
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import place
from pipelines.errors import Unreachable, UserError
from pipelines.vectorstore import loopback

if TYPE_CHECKING:
    from weaviate import WeaviateClient

VERSION_FILE = Path(__file__).parents[2] / "infra" / "weaviate" / "version"
START_SECONDS = 90
READY_SECONDS = 30  # for which a server that lives may not answer
NUM_PORTS = 6  # HTTP, gRPC, gossip, data (gossip + 1, as the server wants it), consensus, consensus RPC


@contextmanager
def session() -> Iterator["WeaviateClient"]:
    """A connected client; the embedded server lives at least until the block ends. Raises UserError with the remedy."""
    url = os.environ.get("WEAVIATE_URL")
    if url:
        with _connected(_external(url), url) as client:
            yield client
        return
    with held() as connection, _connected(connection, "the embedded Weaviate") as client:
        yield client


@contextmanager
def addressed() -> Iterator[dict[str, str]]:
    """The server held, and the environment by which another program (Triton) reaches it: WEAVIATE_URL and WEAVIATE_API_KEY."""
    url, key = os.environ.get("WEAVIATE_URL"), os.environ.get("WEAVIATE_API_KEY")
    if url:
        _external(url)
        yield {"WEAVIATE_URL": url, **({"WEAVIATE_API_KEY": key} if key else {})}
        return
    with held() as connection:
        yield {"WEAVIATE_URL": f"http://127.0.0.1:{connection['http_port']}", "WEAVIATE_API_KEY": connection["api_key"]}


@contextmanager
def held() -> Iterator[dict[str, Any]]:
    """Hold the embedded server, starting it where nobody has; gives its ports and key."""
    folder = place.shared_state() / "weaviate"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users.lock").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with (folder / "start.lock").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            connection = _connection(folder)
            _make_ready(folder, connection)
        yield connection


def revive() -> bool:
    """Start the embedded server again, on the same ports, where it has ended under its users; whether that was so. Raises Unreachable where it does not start."""
    path = place.shared_state() / "weaviate" / "connection.json"
    if os.environ.get("WEAVIATE_URL") or not path.exists():
        return False
    with (path.parent / "start.lock").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        connection = json.loads(path.read_text())
        if not all(map(_is_free, connection["ports"])):  # it lives, however slow it may be
            return False
        _start_keeper(path.parent, connection)
    return True


def binary(folder: Path) -> Path:
    """Where the client's embedded mode looks for the server of the pinned version."""
    tag = f"v{VERSION_FILE.read_text().strip()}"
    return folder / "bin" / f"weaviate-{tag}-{sha256(tag.encode()).hexdigest()}"


def _start_keeper(folder: Path, connection: dict[str, Any]) -> None:
    if not binary(folder).exists():
        raise UserError(f"there is no Weaviate server at {binary(folder)}: `make setup` installs it, or set WEAVIATE_URL to use another server")
    log = folder / "server.log"
    with log.open("ab") as out:
        keeper = subprocess.Popen([sys.executable, "-m", __spec__.name if __name__ == "__main__" else __name__, str(folder)], stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, cwd=Path(__file__).parents[2])  # fmt: skip
    deadline = time.monotonic() + START_SECONDS
    while not _answers(connection):
        ended = keeper.poll()
        if ended is not None or time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                keeper.kill()
            last = "\n  ".join(log.read_text(errors="replace").splitlines()[-6:])
            what = f"did not start within {START_SECONDS} s" if ended is None else f"ended at once (exit code {ended})"
            raise Unreachable(
                f"the embedded Weaviate {what}. Last lines of {log}:\n  {last}\nRemedy: `make doctor`; where its data is damaged, remove {folder / 'data'} (the next run rebuilds the collection)"
            )
        time.sleep(0.1)


def _lives(folder: Path) -> bool:
    """Whether a keeper runs this clone's server, be it ready or not."""
    with (folder / "server.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _make_ready(folder: Path, connection: dict[str, Any]) -> None:
    """Start the server where nobody has, else wait for it. Raises Unreachable: a second one beside one that is not ready would find its data locked."""
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(connection):
        if not _lives(folder):
            _start_keeper(folder, connection)
        elif time.monotonic() > deadline:
            raise Unreachable(
                f"the embedded Weaviate runs and has not been ready for {READY_SECONDS} s: see {folder / 'server.log'}\nRemedy: where its disk was full, free some space; end what holds it (`make serve`, stages that run) and run the same command again"
            )
        else:
            time.sleep(0.1)


def _connection(folder: Path) -> dict[str, Any]:
    """Ports and key of this clone, chosen once; others where somebody else has taken a port, or the file was copied from another clone."""
    path = folder / "connection.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        if found.get("folder", str(folder)) == str(folder) and (_lives(folder) or _answers(found) or all(_is_free(port) for port in found["ports"])):
            return found
    ports = _free_block()
    made = {"http_port": ports[0], "grpc_port": ports[1], "ports": ports, "api_key": secrets.token_urlsafe(24), "folder": str(folder)}
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(made))
    temporary.rename(path)
    return made


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _free_block() -> list[int]:
    """Consecutive free ports below the range from which systems take outgoing ones."""
    for _ in range(200):
        first = 15000 + secrets.randbelow(15000)
        ports = list(range(first, first + NUM_PORTS))
        if all(map(_is_free, ports)):
            return ports
    raise UserError("no free ports between 15000 and 30000 for Weaviate")


def _answers(connection: dict[str, Any]) -> bool:
    """Whether the server on this port is ready, and ours: another one refuses the key."""
    import http.client

    asking = http.client.HTTPConnection("127.0.0.1", connection["http_port"], timeout=5)
    try:
        for path in ("/v1/.well-known/ready", "/v1/meta"):
            asking.request("GET", path, headers={"Authorization": f"Bearer {connection['api_key']}"})
            with asking.getresponse() as answer:
                answer.read()
                if answer.status not in (200, 204):
                    return False
        return True
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asking.close()


def _external(url: str) -> dict[str, Any]:
    from urllib.parse import urlparse

    try:
        parts = urlparse(url)
        port = parts.port
    except ValueError as error:
        raise UserError(f"WEAVIATE_URL: {url!r} is no address ({error}): write it as http://host:8080 or https://host") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"WEAVIATE_URL: {url!r} is no address: write it as http://host:8080 or https://host")
    grpc_port = os.environ.get("WEAVIATE_GRPC_PORT", "50051")
    if not grpc_port.isdecimal() or not 0 < int(grpc_port) < 65536:
        raise UserError(f"WEAVIATE_GRPC_PORT: {grpc_port!r} is no port: write a number such as 50051")
    secure = parts.scheme == "https"
    return {
        "host": parts.hostname, "http_port": port or (443 if secure else 80), "secure": secure,
        "grpc_port": int(grpc_port), "api_key": os.environ.get("WEAVIATE_API_KEY"),
    }  # fmt: skip


@contextmanager
def _connected(connection: dict[str, Any], name: str) -> Iterator["WeaviateClient"]:
    import httpx
    import weaviate
    from weaviate.classes.init import AdditionalConfig, Auth, GrpcConfig, Timeout
    from weaviate.exceptions import WeaviateBaseError

    logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)  # it writes each refused object with its whole vector; what was refused is raised
    host, secure, key = connection.get("host", "127.0.0.1"), connection.get("secure", False), connection["api_key"]
    alone = GrpcConfig(channel_options=[("grpc.use_local_subchannel_pool", 1)])  # else a client shares the connection of one whose server was killed on the same port
    try:
        client = weaviate.connect_to_custom(
            http_host=host, http_port=connection["http_port"], http_secure=secure, grpc_host=host, grpc_port=connection["grpc_port"], grpc_secure=secure,
            auth_credentials=Auth.api_key(key) if key else None, additional_config=AdditionalConfig(timeout=Timeout(init=20, query=60, insert=120), grpc_config=alone),
        )  # fmt: skip
    except (WeaviateBaseError, OSError) as error:
        raise Unreachable(f"{name} cannot be reached: {error}\nRemedy: check WEAVIATE_URL, WEAVIATE_GRPC_PORT and WEAVIATE_API_KEY, or unset them to use the embedded server") from error
    try:
        yield client
    except (WeaviateBaseError, httpx.HTTPError) as error:
        raise Unreachable(f"{name} failed in the middle of the work: {error}\nRemedy: run the same command again; the embedded server's log is .state/weaviate/server.log") from error
    finally:
        client.close()


# --- the keeper ----------------------------------------------------------------------------------------------------


def environment(folder: Path, connection: dict[str, Any]) -> dict[str, str]:
    """The server's settings: this clone's folder, ports and key; no modules, no telemetry, no anonymous access."""
    _, grpc, gossip, data, raft, raft_rpc = connection["ports"]
    return {
        **os.environ,
        "PERSISTENCE_DATA_PATH": str(folder / "data"), "DISABLE_TELEMETRY": "true", "ENABLE_MODULES": "", "LOG_LEVEL": "warning", "GRPC_PORT": str(grpc),
        "CLUSTER_HOSTNAME": "embedded", "CLUSTER_IN_LOCALHOST": "true", "CLUSTER_BIND_ADDR": "127.0.0.1", "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
        "CLUSTER_GOSSIP_BIND_PORT": str(gossip), "CLUSTER_DATA_BIND_PORT": str(data), "RAFT_PORT": str(raft), "RAFT_INTERNAL_RPC_PORT": str(raft_rpc),
        "CLUSTER_BASIC_AUTH_USERNAME": "embedded", "CLUSTER_BASIC_AUTH_PASSWORD": connection["api_key"],
        "RAFT_JOIN": f"embedded:{raft}", "RAFT_BOOTSTRAP_EXPECT": "1", "RAFT_TIMEOUTS_MULTIPLIER": "1", "PROFILING_PORT": "0", "GO_PROFILING_DISABLE": "true",
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false", "AUTHENTICATION_APIKEY_ENABLED": "true", "AUTHENTICATION_APIKEY_USERS": "pipeline",
        "AUTHENTICATION_APIKEY_ALLOWED_KEYS": connection["api_key"], "AUTHORIZATION_ADMINLIST_ENABLED": "true", "AUTHORIZATION_ADMINLIST_USERS": "pipeline",
        "DISK_USE_READONLY_PERCENTAGE": "0", "DISK_USE_WARNING_PERCENTAGE": "0",
    }  # fmt: skip


def keep(folder: Path) -> int:
    """Run the server until nobody uses it. Returns the server's exit code where it ends by itself."""
    connection = json.loads((folder / "connection.json").read_text())
    command = [str(binary(folder)), "--host", "127.0.0.1", "--port", str(connection["http_port"]), "--scheme", "http", "--read-timeout=600s", "--write-timeout=600s"]
    with (folder / "server.lock").open("a") as lives, (folder / "users.lock").open("a") as users:
        fcntl.flock(lives, fcntl.LOCK_EX)
        server = loopback.started(command, environment(folder, connection), _end_with_parent)
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        while server.poll() is None:
            time.sleep(0.3)
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        # Whoever comes now waits for the lock, and so for the end of this server, before starting another one.
        server.terminate()
        return server.wait()


def _end_with_parent() -> None:
    """Linux stops the server when its keeper is killed, so that none is left that nobody stops."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1])))
