import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.vectorstore import open_client, server_address


def read_connection(clone: Path) -> dict[str, Any]:
    text = (clone / ".state/weaviate/connection.json").read_text()
    connection: dict[str, Any] = json.loads(text)
    return connection


def test_the_server_that_weaviate_url_names_is_used_and_none_is_started(
    serving: Path,
    clone: Path,
    monkeypatch: pytest.MonkeyPatch,
    servers: Callable[[Path], list[int]],
) -> None:
    connection = read_connection(serving)
    monkeypatch.setenv("WEAVIATE_URL", f"http://127.0.0.1:{connection['http_port']}")
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", str(connection["grpc_port"]))
    monkeypatch.setenv("WEAVIATE_API_KEY", connection["api_key"])
    with open_client() as client:
        client.collections.create("MadeThroughTheAddress").data.insert({"name": "a"})
        assert servers(clone) == []
    monkeypatch.delenv("WEAVIATE_URL")
    monkeypatch.chdir(serving)
    with open_client() as client:
        collection = client.collections.use("MadeThroughTheAddress")
        assert collection.aggregate.over_all(total_count=True).total_count == 1


def test_the_address_for_other_programs_is_the_embedded_servers_or_the_one_of_the_environment(
    serving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = read_connection(serving)
    with server_address() as environment:
        assert environment == {
            "WEAVIATE_URL": f"http://127.0.0.1:{connection['http_port']}",
            "WEAVIATE_API_KEY": connection["api_key"],
        }
    monkeypatch.setenv("WEAVIATE_URL", "https://weaviate.example.com")
    with server_address() as environment:
        assert environment == {"WEAVIATE_URL": "https://weaviate.example.com"}
    monkeypatch.setenv("WEAVIATE_API_KEY", "key")
    with server_address() as environment:
        assert environment["WEAVIATE_API_KEY"] == "key"


def test_a_server_that_refuses_the_key_is_an_error_with_the_variables_to_check(
    serving: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = read_connection(serving)
    monkeypatch.setenv("WEAVIATE_URL", f"http://127.0.0.1:{connection['http_port']}")
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", str(connection["grpc_port"]))
    monkeypatch.setenv("WEAVIATE_API_KEY", "another")
    with (
        pytest.raises(
            UserError,
            match=r"(?s)http://127\.0\.0\.1:\d+ cannot be reached: .*Remedy: check WEAVIATE_URL, "
            "WEAVIATE_GRPC_PORT and WEAVIATE_API_KEY, or unset them",
        ),
        open_client(),
    ):
        pass


def test_an_address_at_which_nobody_answers_is_an_error_with_the_variables_to_check(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("WEAVIATE_URL", address)
    with (
        pytest.raises(
            UserError, match=rf"(?s){address} cannot be reached: .*Remedy: check WEAVIATE_URL"
        ),
        open_client(),
    ):
        pass


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8080",
        "ftp://localhost",
        "http://",
        "http://[::1",
        "http://localhost:port",
        "http://localhost:99999",
    ],
)
def test_a_malformed_address_is_an_error_with_an_example(
    clone: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("WEAVIATE_URL", address)
    with (
        pytest.raises(
            UserError,
            match=r"WEAVIATE_URL: '.+' is not a valid URL.*: "
            "use http://host:8080 or https://host",
        ),
        open_client(),
    ):
        pass


@pytest.mark.parametrize("port", ["", "grpc", "0", "-1", "65536"])
def test_a_malformed_grpc_port_is_an_error_with_an_example(
    clone: Path, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    monkeypatch.setenv("WEAVIATE_URL", "http://localhost")
    monkeypatch.setenv("WEAVIATE_GRPC_PORT", port)
    with (
        pytest.raises(
            UserError,
            match=rf"WEAVIATE_GRPC_PORT: '{port}' is not a valid port: use a number such as 50051",
        ),
        open_client(),
    ):
        pass
