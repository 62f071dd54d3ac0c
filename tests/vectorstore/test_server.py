import base64
import fcntl
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

from pipelines import place
from pipelines.errors import Unreachable, UserError
from pipelines.vectorstore import server

ROOT = Path(__file__).parents[2]
HOLD = """
import json, sys
from pipelines.vectorstore import server
with server.held() as connection:
    print(json.dumps(connection), flush=True)
    sys.stdin.read()
"""


@contextmanager
def user(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process of the clone that holds the server until its standard input ends. It prints ports and key once the server is up."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", HOLD], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def leave(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def told(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The connection that a user has printed; waits for it."""
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def seconds_until(happened: Callable[[], bool], limit: float) -> float:
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < limit, f"not within {limit} s"
        time.sleep(0.05)
    return time.monotonic() - began


def status(port: int, path: str, headers: dict[str, str]) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def is_stopping(folder: Path) -> bool:
    """Whether the keeper has taken the users' lock for itself, and so ends its server."""
    with (folder / ".state/weaviate/users.lock").open("a") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def listening() -> dict[int, set[str]]:
    """Port -> addresses (as /proc/net writes them) on which somebody listens."""
    found: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A":
                address, port = local.split(":")
                found.setdefault(int(port, 16), set()).add(address)
    return found


def test_two_processes_that_come_at_once_share_one_server_which_lives_until_the_last_has_left(clone: Path, servers: Callable[[Path], list[int]]) -> None:
    with user(clone) as one, user(clone) as two:
        assert told(one) == told(two) == json.loads((clone / ".state/weaviate/connection.json").read_text())
        (pid,) = servers(clone)
        leave(one)
        time.sleep(2)  # the keeper looks three times a second
        assert servers(clone) == [pid]
        with server.session() as client:
            assert client.is_ready()
        assert servers(clone) == [pid]
        leave(two)
        seconds_until(lambda: servers(clone) == [], 10)


def test_a_user_killed_with_kill_9_does_not_keep_the_server_alive(clone: Path, servers: Callable[[Path], list[int]]) -> None:
    with user(clone) as process:
        told(process)
        assert len(servers(clone)) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        seconds_until(lambda: servers(clone) == [], 10)


def test_who_comes_while_the_server_stops_waits_for_the_next_one_and_finds_the_data(clone: Path, servers: Callable[[Path], list[int]]) -> None:
    with server.session() as client:
        client.collections.create("Things").data.insert({"name": "a"})
        (first,) = servers(clone)
    seconds_until(lambda: is_stopping(clone), 10)
    with server.session() as client:
        assert client.collections.use("Things").aggregate.over_all(total_count=True).total_count == 1
        (second,) = servers(clone)
        assert second != first


def test_after_kill_9_of_the_server_the_next_session_starts_a_new_one_with_the_data(clone: Path, servers: Callable[[Path], list[int]]) -> None:
    with server.session() as client:
        client.collections.create("Things").data.insert({"name": "a"})
        (first,) = servers(clone)
        os.kill(first, signal.SIGKILL)
        seconds_until(lambda: servers(clone) == [], 5)
        with server.session() as again:
            (found,) = again.collections.use("Things").query.fetch_objects().objects
            assert found.properties == {"name": "a"}
            assert len(servers(clone)) == 1


def test_a_server_that_is_killed_under_a_session_is_a_clear_error_of_kind_try_again(clone: Path, servers: Callable[[Path], list[int]]) -> None:
    def work() -> None:
        with server.session() as client:
            os.kill(servers(clone)[0], signal.SIGKILL)
            seconds_until(lambda: servers(clone) == [], 5)
            client.collections.create("Things")

    with pytest.raises(Unreachable, match="the embedded Weaviate failed in the middle of the work: .+\nRemedy: run the same command again"):
        work()


def test_a_server_that_lives_and_is_not_ready_is_waited_for_and_gets_no_second_one_beside_it(clone: Path, servers: Callable[[Path], list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "READY_SECONDS", 1)
    with server.session() as client:
        ports = json.loads((clone / ".state/weaviate/connection.json").read_text())["ports"]
        (pid,) = servers(clone)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unreachable, match=r"runs and has not been ready for 1 s: see .+server\.log\nRemedy: where its disk was full"), server.held():
                pass
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (servers(clone), json.loads((clone / ".state/weaviate/connection.json").read_text())["ports"]) == ([pid], ports)
        with server.session() as again:
            assert again.is_ready()
        assert client.is_ready()


def test_a_server_whose_keeper_was_killed_with_kill_9_ends_too(clone: Path, servers: Callable[[Path], list[int]], keepers: Callable[[Path], list[int]]) -> None:
    with server.held():
        assert len(servers(clone)) == 1
        (keeper,) = keepers(clone)
        os.kill(keeper, signal.SIGKILL)
        seconds_until(lambda: servers(clone) == [], 10)


def test_ports_and_key_are_readable_by_their_owner_alone(serving: Path) -> None:
    assert stat.S_IMODE((serving / ".state/weaviate/connection.json").stat().st_mode) == 0o600


def test_every_port_listens_on_127_0_0_1_alone(serving: Path) -> None:
    http, grpc, gossip, data, raft, raft_rpc = json.loads((serving / ".state/weaviate/connection.json").read_text())["ports"]
    open_ports = {port: addresses for port, addresses in listening().items() if port in range(http, raft_rpc + 1)}
    as_both_kinds = "0000000000000000FFFF00000100007F"  # ::ffff:127.0.0.1
    assert set().union(*open_ports.values()) <= {"0100007F", as_both_kinds}
    assert {http, grpc, gossip, data} <= open_ports.keys()
    assert {raft, raft_rpc} & open_ports.keys()


@pytest.mark.parametrize("path", ["/nodes/status", "/nodes/statistics", "/indices/Things/shards/x/objects", "/replicas/indices/Things/shards/x/objects", "/v1/cluster/users/db/"])
def test_the_cluster_data_port_without_the_key_is_refused(serving: Path, path: str) -> None:
    connection = json.loads((serving / ".state/weaviate/connection.json").read_text())
    known, guessed = (base64.b64encode(f"embedded:{key}".encode()).decode() for key in (connection["api_key"], "guessed"))
    assert status(connection["ports"][3], path, {}) == 401
    assert status(connection["ports"][3], path, {"Authorization": f"Basic {guessed}"}) == 401
    assert status(connection["ports"][3], path, {"Authorization": f"Basic {known}"}) != 401


@pytest.mark.parametrize("path", ["/v1/meta", "/v1/schema", "/v1/objects", "/v1/nodes"])
def test_http_without_the_key_is_refused(serving: Path, path: str) -> None:
    connection = json.loads((serving / ".state/weaviate/connection.json").read_text())
    assert status(connection["http_port"], path, {}) == 401
    assert status(connection["http_port"], path, {"Authorization": "Bearer guessed"}) == 401
    assert status(connection["http_port"], path, {"Authorization": f"Bearer {connection['api_key']}"}) == 200


@pytest.mark.parametrize("method", ["Search", "BatchDelete", "TenantsGet", "Aggregate"])
def test_grpc_without_the_key_is_refused(serving: Path, method: str) -> None:
    import grpc  # type: ignore[import-untyped]

    connection = json.loads((serving / ".state/weaviate/connection.json").read_text())

    def refusal(*headers: tuple[str, str]) -> str:
        with grpc.insecure_channel(f"127.0.0.1:{connection['grpc_port']}") as channel:
            try:
                channel.unary_unary(f"/weaviate.v1.Weaviate/{method}")(b"", timeout=10, metadata=headers)
            except grpc.RpcError as error:
                return str(error.details())
        return ""

    # Weaviate gives these the code UNKNOWN, so its words decide.
    assert refusal() == "extract auth: unauthorized: invalid api key"
    assert refusal(("authorization", "Bearer guessed")) == "extract auth: unauthorized: invalid api key"
    assert "unauthorized" not in refusal(("authorization", f"Bearer {connection['api_key']}"))


def test_the_grpc_stream_that_writes_objects_is_refused_without_the_key(serving: Path) -> None:
    import grpc

    connection = json.loads((serving / ".state/weaviate/connection.json").read_text())

    def answer(*headers: tuple[str, str]) -> grpc.StatusCode:
        with grpc.insecure_channel(f"127.0.0.1:{connection['grpc_port']}") as channel:
            try:
                list(channel.stream_stream("/weaviate.v1.Weaviate/BatchStream")(iter([b""]), timeout=10, metadata=headers))
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    assert answer() == grpc.StatusCode.UNAUTHENTICATED
    assert answer(("authorization", "Bearer guessed")) == grpc.StatusCode.UNAUTHENTICATED
    assert answer(("authorization", f"Bearer {connection['api_key']}")) != grpc.StatusCode.UNAUTHENTICATED


def test_where_a_port_was_taken_meanwhile_others_are_chosen(clone: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        (clone / ".state/weaviate/connection.json").write_text(json.dumps({"http_port": port - 1, "grpc_port": port, "ports": [port - 1 + number for number in range(6)], "api_key": "k"}))
        with server.session() as client:
            made = json.loads((clone / ".state/weaviate/connection.json").read_text())
            assert port not in made["ports"]
            assert made["api_key"] != "k"
            assert client.is_ready()


@pytest.mark.parametrize("key", ["the same key", "another key"])
def test_a_clone_copied_with_its_ports_gets_a_server_of_its_own(serving: Path, clone: Path, servers: Callable[[Path], list[int]], key: str) -> None:
    copied = json.loads((serving / ".state/weaviate/connection.json").read_text())
    if key == "another key":
        copied |= {"api_key": "another", "folder": str(clone / ".state/weaviate")}
    (clone / ".state/weaviate/connection.json").write_text(json.dumps(copied))
    with server.session() as client:
        assert client.is_ready()
        assert len(servers(clone)) == 1
        assert set(json.loads((clone / ".state/weaviate/connection.json").read_text())["ports"]).isdisjoint(copied["ports"])


def test_without_the_binary_the_error_says_what_installs_it(clone: Path) -> None:
    (clone / ".state/weaviate/bin").unlink()
    with pytest.raises(UserError, match=r"there is no Weaviate server at .+/\.state/weaviate/bin/weaviate-v.+: `make setup` installs it, or set WEAVIATE_URL"), server.held():
        pass


def test_a_server_that_ends_at_once_is_told_with_its_last_words_and_nobody_waits_for_it(clone: Path) -> None:
    (clone / ".state/weaviate/bin").unlink()
    binary = server.binary(clone / ".state/weaviate")
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\necho the disk is on fire\nexit 3\n")
    binary.chmod(0o755)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"(?s)the embedded Weaviate ended at once \(exit code \d+\).*server\.log:\n  the disk is on fire\nRemedy: `make doctor`"), server.held():
        pass
    assert time.monotonic() - began < 10


def test_all_work_trees_of_a_clone_share_its_state(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "--allow-empty", "--message", "x"], check=True)
    subprocess.run(["git", "worktree", "add", "--quiet", "../tree"], check=True)
    (clone / "deep").mkdir()
    for folder in (clone, clone / "deep", clone.parent / "tree"):
        monkeypatch.chdir(folder)
        assert place.shared_state() == clone / ".state"


def test_where_there_is_no_git_repository_the_state_lies_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place.shared_state() == tmp_path / ".state"


def test_the_server_that_weaviate_url_names_is_used_and_none_is_started(serving: Path, clone: Path, monkeypatch: pytest.MonkeyPatch, servers: Callable[[Path], list[int]]) -> None:
    connection = json.loads((serving / ".state/weaviate/connection.json").read_text())
    monkeypatch.setenv("WEAVIATE_URL", f"http://127.0.0.1:{connection['http_port']}")
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", str(connection["grpc_port"]))
    monkeypatch.setenv("WEAVIATE_API_KEY", connection["api_key"])
    with server.session() as client:
        client.collections.create("MadeThroughTheAddress").data.insert({"name": "a"})
        assert servers(clone) == []
    monkeypatch.delenv("WEAVIATE_URL")
    monkeypatch.chdir(serving)
    with server.session() as client:
        assert client.collections.use("MadeThroughTheAddress").aggregate.over_all(total_count=True).total_count == 1


def test_a_server_that_refuses_the_key_is_told_with_the_variables_to_check(serving: Path, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = json.loads((serving / ".state/weaviate/connection.json").read_text())
    monkeypatch.setenv("WEAVIATE_URL", f"http://127.0.0.1:{connection['http_port']}")
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", str(connection["grpc_port"]))
    monkeypatch.setenv("WEAVIATE_API_KEY", "another")
    with pytest.raises(UserError, match=r"(?s)http://127\.0\.0\.1:\d+ cannot be reached: .*Remedy: check WEAVIATE_URL, WEAVIATE_GRPC_PORT and WEAVIATE_API_KEY, or unset them"), server.session():
        pass


def test_an_address_at_which_nobody_answers_is_told_with_the_variables_to_check(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("WEAVIATE_URL", address)
    with pytest.raises(UserError, match=rf"(?s){address} cannot be reached: .*Remedy: check WEAVIATE_URL"), server.session():
        pass


@pytest.mark.parametrize("address", ["localhost:8080", "ftp://localhost", "http://", "http://[::1", "http://localhost:port", "http://localhost:99999"])
def test_a_malformed_address_is_told_with_an_example(clone: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("WEAVIATE_URL", address)
    with pytest.raises(UserError, match=r"WEAVIATE_URL: '.+' is no address.*: write it as http://host:8080 or https://host"), server.session():
        pass


@pytest.mark.parametrize("port", ["", "grpc", "0", "-1", "65536"])
def test_a_malformed_grpc_port_is_told_with_an_example(clone: Path, monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("WEAVIATE_URL", "http://localhost")
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", port)
    with pytest.raises(UserError, match=rf"WEAVIATE_GRPC_PORT: '{port}' is no port: write a number such as 50051"), server.session():
        pass
