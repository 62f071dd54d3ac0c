import base64
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import Unreachable, UserError
from pipelines.system import keeper, locks, paths
from pipelines.vectorstore import hold_server, open_client, revive_server, weaviate_server
from tests.ports import own_address

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pipelines.vectorstore import hold_server
with hold_server() as connection:
    print(connection.model_dump_json(), flush=True)
    sys.stdin.read()
"""
LISTENING = "0A"  # state of a socket in /proc/net/tcp
LOOPBACK = "0100007F"  # 127.0.0.1 in /proc/net/tcp
EVERY_ADDRESS = {"0" * 32, "0" * 8}  # :: (which takes IPv4 as well) or 0.0.0.0
# Their numbers among `ports` of the connection file.
GRPC = 1
CLUSTER_DATA = 3

Pids = Callable[[Path], list[int]]


@contextmanager
def start_user(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process of the clone that holds the server until its standard input ends.

    It prints ports and key once the server is up.
    """
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def leave(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def connection_of(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The connection that a user has printed; waits for it."""
    assert process.stdout is not None
    connection: dict[str, Any] = json.loads(process.stdout.readline())
    return connection


def read_connection(clone: Path) -> dict[str, Any]:
    text = (clone / ".state/weaviate/connection.json").read_text()
    connection: dict[str, Any] = json.loads(text)
    return connection


def write_connection(clone: Path, connection: dict[str, Any]) -> None:
    (clone / ".state/weaviate/connection.json").write_text(json.dumps(connection))


def wait_until(condition: Callable[[], bool], limit: float) -> None:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < limit, f"not within {limit} s"
        time.sleep(0.05)


def status(port: int, path: str, headers: dict[str, str]) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def is_stopping(folder: Path) -> bool:
    """Whether the keeper has taken the users' lock for itself, and so ends its server."""
    return locks.is_held(folder / ".state/weaviate" / keeper.USERS_LOCK)


def listening_addresses() -> dict[int, set[str]]:
    """Port -> addresses (as /proc/net writes them) on which somebody listens."""
    addresses: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == LISTENING:
                address, port = local.split(":")
                addresses.setdefault(int(port, 16), set()).add(address)
    return addresses


def test_two_processes_that_come_at_once_share_one_server_which_lives_until_the_last_has_left(
    clone: Path, servers: Pids
) -> None:
    with start_user(clone) as first, start_user(clone) as second:
        assert connection_of(first) == connection_of(second) == read_connection(clone)
        (pid,) = servers(clone)
        leave(first)
        time.sleep(2)  # the keeper looks three times a second
        assert servers(clone) == [pid]
        with open_client() as client:
            assert client.is_ready()
        assert servers(clone) == [pid]
        leave(second)
        wait_until(lambda: servers(clone) == [], 10)


def test_a_user_killed_with_kill_9_does_not_keep_the_server_alive(
    clone: Path, servers: Pids
) -> None:
    with start_user(clone) as process:
        connection_of(process)
        assert len(servers(clone)) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: servers(clone) == [], 10)


def test_a_user_that_comes_while_the_server_stops_waits_for_the_next_one_and_its_data(
    clone: Path, servers: Pids
) -> None:
    with open_client() as client:
        client.collections.create("Things").data.insert({"name": "a"})
        (first,) = servers(clone)
    wait_until(lambda: is_stopping(clone), 10)
    with open_client() as client:
        collection = client.collections.use("Things")
        assert collection.aggregate.over_all(total_count=True).total_count == 1
        (second,) = servers(clone)
        assert second != first


def test_after_kill_9_of_the_server_the_next_session_starts_a_new_one_with_the_data(
    clone: Path, servers: Pids
) -> None:
    with open_client() as client:
        client.collections.create("Things").data.insert({"name": "a"})
        (first,) = servers(clone)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: servers(clone) == [], 5)
        with open_client() as new_client:
            (item,) = new_client.collections.use("Things").query.fetch_objects().objects
            assert item.properties == {"name": "a"}
            assert len(servers(clone)) == 1


def test_a_server_that_is_killed_during_the_work_is_a_clear_error_of_kind_try_again(
    clone: Path, servers: Pids
) -> None:
    def work() -> None:
        with open_client() as client:
            os.kill(servers(clone)[0], signal.SIGKILL)
            wait_until(lambda: servers(clone) == [], 5)
            client.collections.create("Things")

    with pytest.raises(
        Unreachable,
        match="the embedded Weaviate failed during the work: .+\n"
        "Remedy: run the same command again",
    ):
        work()


def test_a_running_server_that_is_not_ready_is_waited_for_and_gets_no_second_one_beside_it(
    clone: Path, servers: Pids, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weaviate_server, "READY_SECONDS", 1)
    with open_client() as client:
        ports = read_connection(clone)["ports"]
        (pid,) = servers(clone)
        os.kill(pid, signal.SIGSTOP)
        try:
            with (
                pytest.raises(
                    Unreachable,
                    match=r"is running but has not been ready for 1 s: see .+server\.log\n"
                    "Remedy: if its disk was full",
                ),
                hold_server(),
            ):
                pass
        finally:
            os.kill(pid, signal.SIGCONT)
        assert servers(clone) == [pid]
        assert read_connection(clone)["ports"] == ports
        with open_client() as second_client:
            assert second_client.is_ready()
        assert client.is_ready()


def test_a_server_whose_keeper_was_killed_with_kill_9_ends_too(
    clone: Path, servers: Pids, keepers: Pids
) -> None:
    with hold_server():
        assert len(servers(clone)) == 1
        (keeper_pid,) = keepers(clone)
        os.kill(keeper_pid, signal.SIGKILL)
        wait_until(lambda: servers(clone) == [], 10)


def test_a_server_that_ended_under_its_users_is_revived_on_the_same_ports(
    clone: Path, servers: Pids, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not revive_server()
    with hold_server() as connection:
        assert not revive_server()
        os.kill(servers(clone)[0], signal.SIGKILL)
        # A process that ends loses its environment, by which `servers` knows it, before its ports.
        monkeypatch.setenv("WEAVIATE_URL", "http://127.0.0.1:1")
        assert not revive_server(), "another server is its operator's to start"
        monkeypatch.delenv("WEAVIATE_URL")
        wait_until(revive_server, 5)
        assert len(servers(clone)) == 1
        headers = {"Authorization": f"Bearer {connection.api_key}"}
        assert status(connection.http_port, "/v1/meta", headers) == 200


def test_ports_and_key_are_readable_by_their_owner_alone(serving: Path) -> None:
    path = serving / ".state/weaviate/connection.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_port_but_grpc_and_cluster_data_listens_on_127_0_0_1_alone(serving: Path) -> None:
    http, grpc, gossip, data, raft, raft_rpc = read_connection(serving)["ports"]
    addresses = listening_addresses()
    assert addresses[http] == addresses[gossip] == {LOOPBACK}
    # A server that has a setting for these two should get it: see security.md.
    assert addresses[grpc] <= EVERY_ADDRESS
    assert addresses[data] <= EVERY_ADDRESS
    raft_addresses = [addresses[port] for port in (raft, raft_rpc) if port in addresses]
    assert raft_addresses
    assert set().union(*raft_addresses) == {LOOPBACK}


@pytest.mark.parametrize(
    "path",
    [
        "/nodes/status",
        "/nodes/statistics",
        "/indices/Things/shards/x/objects",
        "/replicas/indices/Things/shards/x/objects",
        "/v1/cluster/users/db/",
    ],
)
def test_the_cluster_data_port_without_the_key_is_refused(serving: Path, path: str) -> None:
    connection = read_connection(serving)
    port = connection["ports"][3]
    right_key = base64.b64encode(f"embedded:{connection['api_key']}".encode()).decode()
    wrong_key = base64.b64encode(b"embedded:guessed").decode()
    assert status(port, path, {}) == 401
    assert status(port, path, {"Authorization": f"Basic {wrong_key}"}) == 401
    assert status(port, path, {"Authorization": f"Basic {right_key}"}) != 401


@pytest.mark.parametrize("path", ["/v1/meta", "/v1/schema", "/v1/objects", "/v1/nodes"])
def test_http_without_the_key_is_refused(serving: Path, path: str) -> None:
    connection = read_connection(serving)
    port = connection["http_port"]
    assert status(port, path, {}) == 401
    assert status(port, path, {"Authorization": "Bearer guessed"}) == 401
    assert status(port, path, {"Authorization": f"Bearer {connection['api_key']}"}) == 200


@pytest.mark.parametrize("method", ["Search", "BatchDelete", "TenantsGet", "Aggregate"])
def test_grpc_without_the_key_is_refused(serving: Path, method: str) -> None:
    import grpc  # type: ignore[import-untyped]

    connection = read_connection(serving)

    def refusal(*headers: tuple[str, str]) -> str:
        with grpc.insecure_channel(f"127.0.0.1:{connection['grpc_port']}") as channel:
            call = channel.unary_unary(f"/weaviate.v1.Weaviate/{method}")
            try:
                call(b"", timeout=10, metadata=headers)
            except grpc.RpcError as error:
                return str(error.details())
        return ""

    # Weaviate gives these the code UNKNOWN, so its words decide.
    invalid_key = "extract auth: unauthorized: invalid api key"
    assert refusal() == invalid_key
    assert refusal(("authorization", "Bearer guessed")) == invalid_key
    assert "unauthorized" not in refusal(("authorization", f"Bearer {connection['api_key']}"))


def test_the_grpc_stream_that_writes_objects_is_refused_without_the_key(serving: Path) -> None:
    import grpc

    connection = read_connection(serving)

    def answer(*headers: tuple[str, str]) -> grpc.StatusCode:
        with grpc.insecure_channel(f"127.0.0.1:{connection['grpc_port']}") as channel:
            call = channel.stream_stream("/weaviate.v1.Weaviate/BatchStream")
            try:
                list(call(iter([b""]), timeout=10, metadata=headers))
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    refusal = grpc.StatusCode.UNAUTHENTICATED
    assert answer() == refusal
    assert answer(("authorization", "Bearer guessed")) == refusal
    assert answer(("authorization", f"Bearer {connection['api_key']}")) != refusal


@pytest.mark.parametrize(
    ("port_number", "method"),
    [
        (GRPC, "/weaviate.v1.Weaviate/Search"),
        (GRPC, "/weaviate.v1.Weaviate/BatchObjects"),
        (CLUSTER_DATA, "/clusterapi.FileReplicationService/CreateReplicaSnapshot"),
        (CLUSTER_DATA, "/clusterapi.FileReplicationService/StartChangeCapture"),
    ],
)
def test_the_two_open_ports_refuse_who_comes_from_another_address_without_the_key(
    serving: Path, port_number: int, method: str
) -> None:
    import grpc

    port = read_connection(serving)["ports"][port_number]
    with grpc.insecure_channel(f"{own_address()}:{port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(method)(b"", timeout=10)
        refusal = f"{caught.value.code().name}: {caught.value.details()}"
    assert refusal in (
        "UNKNOWN: extract auth: unauthorized: invalid api key",  # Weaviate's code for the first
        "UNAUTHENTICATED: missing or invalid auth header",
        "UNAUTHENTICATED: Received http2 header with status: 401",
    )


def test_http_gossip_and_consensus_are_not_reached_from_another_address(serving: Path) -> None:
    ports = read_connection(serving)["ports"]
    for number, port in enumerate(ports):
        if number not in (GRPC, CLUSTER_DATA):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((own_address(), port), timeout=5)


def test_new_ports_are_chosen_if_another_program_has_taken_one(clone: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        ports = list(range(port - 1, port + 5))
        write_connection(
            clone, {"http_port": port - 1, "grpc_port": port, "ports": ports, "api_key": "k"}
        )
        with open_client() as client:
            connection = read_connection(clone)
            assert port not in connection["ports"]
            assert connection["api_key"] != "k"
            assert client.is_ready()


@pytest.mark.parametrize("key", ["the same key", "another key"])
def test_a_clone_copied_with_its_ports_gets_a_server_of_its_own(
    serving: Path, clone: Path, servers: Pids, key: str
) -> None:
    copied_connection = read_connection(serving)
    if key == "another key":
        own_folder = str(clone / ".state/weaviate")
        copied_connection |= {"api_key": "another", "folder": own_folder}
    write_connection(clone, copied_connection)
    with open_client() as client:
        assert client.is_ready()
        assert len(servers(clone)) == 1
        assert set(read_connection(clone)["ports"]).isdisjoint(copied_connection["ports"])


def test_without_the_binary_the_error_says_what_installs_it(clone: Path) -> None:
    (clone / ".state/weaviate/bin").unlink()
    with (
        pytest.raises(
            UserError,
            match=r"there is no Weaviate server at .+/\.state/weaviate/bin/weaviate-v.+: "
            "`make setup` installs it, or set WEAVIATE_URL",
        ),
        hold_server(),
    ):
        pass


def test_a_server_that_ends_at_once_is_an_error_with_its_last_lines_and_nobody_waits_for_it(
    clone: Path,
) -> None:
    (clone / ".state/weaviate/bin").unlink()
    binary = weaviate_server.binary(clone / ".state/weaviate")
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\necho the disk is on fire\nexit 3\n")
    binary.chmod(0o755)
    start = time.monotonic()
    with (
        pytest.raises(
            UserError,
            match=r"(?s)the embedded Weaviate ended at once \(exit code 3\).*server\.log:\n"
            "  the disk is on fire\nRemedy: `make doctor`",
        ),
        hold_server(),
    ):
        pass
    assert time.monotonic() - start < 10


def test_all_work_trees_of_a_clone_share_its_state(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    author = ["-c", "user.name=x", "-c", "user.email=x@x"]
    commit = ["commit", "--quiet", "--allow-empty", "--message", "x"]
    subprocess.run(["git", *author, *commit], check=True)
    subprocess.run(["git", "worktree", "add", "--quiet", "../tree"], check=True)
    (clone / "deep").mkdir()
    for folder in (clone, clone / "deep", clone.parent / "tree"):
        monkeypatch.chdir(folder)
        assert paths.state_folder() == clone / ".state"


def test_without_a_git_repository_the_state_is_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.state_folder() == tmp_path / ".state"
