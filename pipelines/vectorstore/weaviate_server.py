"""The embedded Weaviate server: one for each clone, shared by every process that needs it.

The first user starts it under a keeper (pipelines/system/keeper.py), which stops it after the last
user has left. Every request must carry this clone's random key. HTTP, gossip and consensus listen
on 127.0.0.1. gRPC and cluster data listen on every interface: the server has no setting for their
address (weaviate/weaviate #5898).
"""

import http.client
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipelines.errors import Unreachable, UserError
from pipelines.system import keeper, locks, paths, processes

VERSION_FILE = Path(__file__).parents[2] / "infra" / "weaviate" / "version"
HOST = "127.0.0.1"
START_SECONDS = 90
READY_SECONDS = 30  # for which a running server may not answer
POLL_SECONDS = 0.1
NUM_LOG_LINES = 6  # of the server's log that an error quotes
FIRST_PORT = 15_000
LAST_PORT = 30_000  # below the range from which systems take outgoing ports
# HTTP, gRPC, gossip, data (gossip + 1, as the server requires), consensus, consensus RPC
NUM_PORTS = 6


class Connection(BaseModel):
    """connection.json: the ports and the key of a clone's server."""

    model_config = ConfigDict(frozen=True)

    http_port: int
    grpc_port: int
    ports: list[int]  # all of them, in the order of NUM_PORTS
    api_key: str
    folder: str | None = None  # that the file was written for


@contextmanager
def hold_server() -> Iterator[Connection]:
    """Keep the embedded server alive while the block runs; starts it if it is not running.

    Raises UserError with the remedy.
    """
    folder = _folder()
    with locks.shared(folder / keeper.USERS_LOCK):
        with locks.exclusive(folder / "start.lock"):
            connection = _choose_connection(folder)
            _make_ready(folder, connection)
        yield connection


def revive_server() -> bool:
    """Start the server again, on the same ports, if it has ended under its users.

    Returns whether that was so. Raises Unreachable if it does not start.
    """
    folder = _folder()
    if not _file(folder).exists():
        return False
    with locks.exclusive(folder / "start.lock"):
        connection = _read_connection(folder)
        if not _are_free(connection.ports):  # it is running, however slow it may be
            return False
        _start(folder, connection)
    return True


def binary(folder: Path) -> Path:
    """Where the client's embedded mode looks for the server of the pinned version."""
    tag = f"v{VERSION_FILE.read_text().strip()}"
    return folder / "bin" / f"weaviate-{tag}-{sha256(tag.encode()).hexdigest()}"


def _folder() -> Path:
    return paths.state_folder() / "weaviate"


def _make_ready(folder: Path, connection: Connection) -> None:
    """Start the server if nobody has, otherwise wait for it.

    Raises Unreachable if a running one does not become ready: a second one beside it would find its
    data locked.
    """
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(connection):
        if not keeper.is_running(folder):
            _start(folder, connection)
        elif time.monotonic() > deadline:
            raise Unreachable(
                f"the embedded Weaviate is running but has not been ready for {READY_SECONDS} s: "
                f"see {folder / 'server.log'}\n"
                "Remedy: if its disk was full, free some space; end what uses the server "
                "(`make serve`, running stages) and run the same command again"
            )
        else:
            time.sleep(POLL_SECONDS)


def _start(folder: Path, connection: Connection) -> None:
    if not binary(folder).exists():
        raise UserError(
            f"there is no Weaviate server at {binary(folder)}: `make setup` installs it, "
            "or set WEAVIATE_URL to use another server"
        )
    log = folder / "server.log"
    command = server_command(folder, connection)
    process = keeper.start(folder, command, server_environment(folder, connection), log)
    deadline = time.monotonic() + START_SECONDS
    while not _answers(connection):
        if process.poll() is not None or time.monotonic() > deadline:
            raise _start_failure(folder, process, log)
        time.sleep(POLL_SECONDS)


def _start_failure(folder: Path, process: "subprocess.Popen[bytes]", log: Path) -> Unreachable:
    """End the keeper, and say why the server does not run."""
    exit_code = process.poll()
    with suppress(ProcessLookupError):
        process.kill()
    if exit_code is None:
        problem = f"did not start within {START_SECONDS} s"
    else:
        problem = f"ended at once (exit code {exit_code})"
    lines = log.read_text(errors="replace").splitlines()
    last_lines = "\n  ".join(lines[-NUM_LOG_LINES:])
    return Unreachable(
        f"the embedded Weaviate {problem}. Last lines of {log}:\n  {last_lines}\n"
        f"Remedy: `make doctor`; if its data is damaged, remove {folder / 'data'} "
        "(the next run rebuilds the collection)"
    )


def _answers(connection: Connection) -> bool:
    """Whether the server on this port is ready, and ours: another one refuses the key."""
    client = http.client.HTTPConnection(HOST, connection.http_port, timeout=5)
    headers = {"Authorization": f"Bearer {connection.api_key}"}
    try:
        for path in ("/v1/.well-known/ready", "/v1/meta"):
            client.request("GET", path, headers=headers)
            with client.getresponse() as response:
                response.read()
                if response.status not in (200, 204):
                    return False
        return True
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()


# --- ports and key ---


def _file(folder: Path) -> Path:
    return folder / "connection.json"


def _read_connection(folder: Path) -> Connection:
    return Connection.model_validate_json(_file(folder).read_text())


def _choose_connection(folder: Path) -> Connection:
    """Ports and key of this clone, chosen once.

    New ones if another program has taken a port, or if the file was copied from another clone.
    """
    if _file(folder).exists():
        connection = _read_connection(folder)
        is_ours = connection.folder in (None, str(folder))
        if is_ours and _is_usable(folder, connection):
            return connection
    ports = _free_ports_in_a_row()
    connection = Connection(
        http_port=ports[0],
        grpc_port=ports[1],
        ports=ports,
        api_key=secrets.token_urlsafe(24),
        folder=str(folder),
    )
    _write_connection(_file(folder), connection)
    return connection


def _is_usable(folder: Path, connection: Connection) -> bool:
    return keeper.is_running(folder) or _answers(connection) or _are_free(connection.ports)


def _write_connection(path: Path, connection: Connection) -> None:
    """Readable by its owner alone."""
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(connection.model_dump()))
    temporary.rename(path)


def _free_ports_in_a_row() -> list[int]:
    for _ in range(200):
        first = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        ports = list(range(first, first + NUM_PORTS))
        if _are_free(ports):
            return ports
    raise UserError(f"no free ports between {FIRST_PORT} and {LAST_PORT} for Weaviate")


def _are_free(ports: list[int]) -> bool:
    """Whether nobody listens on them at any address: gRPC and cluster data take every interface."""
    return all(processes.is_free(port, host="") for port in ports)


# --- the server's command ---


def server_command(folder: Path, connection: Connection) -> list[str]:
    options = ["--host", HOST, "--port", str(connection.http_port), "--scheme", "http"]
    timeouts = ["--read-timeout=600s", "--write-timeout=600s"]
    return [str(binary(folder)), *options, *timeouts]


def server_environment(folder: Path, connection: Connection) -> dict[str, str]:
    """The server's settings: its folder, ports and key; no modules, no telemetry."""
    key = connection.api_key
    return {
        "PERSISTENCE_DATA_PATH": str(folder / "data"),
        "DISABLE_TELEMETRY": "true",
        "ENABLE_MODULES": "",
        "LOG_LEVEL": "warning",
        "PROFILING_PORT": "0",
        "GO_PROFILING_DISABLE": "true",
        "DISK_USE_READONLY_PERCENTAGE": "0",
        "DISK_USE_WARNING_PERCENTAGE": "0",
        **_cluster_settings(connection),
        "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
        "AUTHENTICATION_APIKEY_ENABLED": "true",
        "AUTHENTICATION_APIKEY_USERS": "pipeline",
        "AUTHENTICATION_APIKEY_ALLOWED_KEYS": key,
        "AUTHORIZATION_ADMINLIST_ENABLED": "true",
        "AUTHORIZATION_ADMINLIST_USERS": "pipeline",
        "CLUSTER_BASIC_AUTH_USERNAME": "embedded",
        "CLUSTER_BASIC_AUTH_PASSWORD": key,
    }


def _cluster_settings(connection: Connection) -> dict[str, str]:
    """A cluster of one node."""
    _, grpc, gossip, data, raft, raft_rpc = map(str, connection.ports)
    return {
        "GRPC_PORT": grpc,
        "CLUSTER_HOSTNAME": "embedded",
        "CLUSTER_IN_LOCALHOST": "true",
        "CLUSTER_BIND_ADDR": HOST,
        "CLUSTER_ADVERTISE_ADDR": HOST,
        "CLUSTER_GOSSIP_BIND_PORT": gossip,
        "CLUSTER_DATA_BIND_PORT": data,
        "RAFT_PORT": raft,
        "RAFT_INTERNAL_RPC_PORT": raft_rpc,
        "RAFT_JOIN": f"embedded:{raft}",
        "RAFT_BOOTSTRAP_EXPECT": "1",
        "RAFT_TIMEOUTS_MULTIPLIER": "1",
    }
