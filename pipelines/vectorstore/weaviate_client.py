"""Connections to Weaviate: the embedded server, or the server that WEAVIATE_URL names."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from pipelines.errors import Unreachable, UserError
from pipelines.vectorstore import weaviate_server
from pipelines.vectorstore.weaviate_server import HOST, hold_server

if TYPE_CHECKING:
    from weaviate import WeaviateClient

DEFAULT_GRPC_PORT = "50051"
URL_EXAMPLES = "use http://host:8080 or https://host"


@dataclass(frozen=True)
class Endpoint:
    """What a client needs to connect. `name` is how messages call the server."""

    name: str
    host: str
    http_port: int
    grpc_port: int
    is_secure: bool
    api_key: str | None


@contextmanager
def open_client() -> Iterator["WeaviateClient"]:
    """A connected client; the embedded server lives at least until the block ends.

    Raises UserError with the remedy.
    """
    url = os.environ.get("WEAVIATE_URL")
    if url:
        with _connect(_external_endpoint(url)) as client:
            yield client
        return
    with hold_server() as connection:
        endpoint = Endpoint(
            name="the embedded Weaviate",
            host=HOST,
            http_port=connection.http_port,
            grpc_port=connection.grpc_port,
            is_secure=False,
            api_key=connection.api_key,
        )
        with _connect(endpoint) as client:
            yield client


@contextmanager
def server_address() -> Iterator[dict[str, str]]:
    """The environment by which another program (Triton) reaches the server.

    It holds WEAVIATE_URL and WEAVIATE_API_KEY. The server lives until the block ends.
    """
    url = os.environ.get("WEAVIATE_URL")
    if url:
        _external_endpoint(url)
        key = os.environ.get("WEAVIATE_API_KEY")
        yield {"WEAVIATE_URL": url, **({"WEAVIATE_API_KEY": key} if key else {})}
        return
    with hold_server() as connection:
        yield {
            "WEAVIATE_URL": f"http://{HOST}:{connection.http_port}",
            "WEAVIATE_API_KEY": connection.api_key,
        }


def revive_server() -> bool:
    """Start the embedded server again if it has ended under its users; returns whether it had.

    A server that WEAVIATE_URL names is its operator's to start. Raises Unreachable if the embedded
    one does not start.
    """
    return not os.environ.get("WEAVIATE_URL") and weaviate_server.revive_server()


def _external_endpoint(url: str) -> Endpoint:
    """Raises UserError if WEAVIATE_URL or WEAVIATE_GRPC_PORT is malformed."""
    try:
        parts = urlparse(url)
        port = parts.port
    except ValueError as error:
        raise UserError(
            f"WEAVIATE_URL: {url!r} is not a valid URL ({error}): {URL_EXAMPLES}"
        ) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"WEAVIATE_URL: {url!r} is not a valid URL: {URL_EXAMPLES}")
    is_secure = parts.scheme == "https"
    default_port = 443 if is_secure else 80
    return Endpoint(
        name=url,
        host=parts.hostname,
        http_port=port or default_port,
        grpc_port=_external_grpc_port(),
        is_secure=is_secure,
        api_key=os.environ.get("WEAVIATE_API_KEY"),
    )


def _external_grpc_port() -> int:
    value = os.environ.get("WEAVIATE_GRPC_PORT", DEFAULT_GRPC_PORT)
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise UserError(
            f"WEAVIATE_GRPC_PORT: {value!r} is not a valid port: use a number such as 50051"
        )
    return int(value)


@contextmanager
def _connect(endpoint: Endpoint) -> Iterator["WeaviateClient"]:
    import httpx
    import weaviate
    from weaviate.exceptions import WeaviateBaseError

    # Weaviate's client logs each refused object with its whole vector; what was refused is raised.
    logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)
    try:
        client = weaviate.connect_to_custom(**_client_settings(endpoint))
    except (WeaviateBaseError, OSError) as error:
        raise Unreachable(
            f"{endpoint.name} cannot be reached: {error}\n"
            "Remedy: check WEAVIATE_URL, WEAVIATE_GRPC_PORT and WEAVIATE_API_KEY, "
            "or unset them to use the embedded server"
        ) from error
    try:
        yield client
    except (WeaviateBaseError, httpx.HTTPError) as error:
        raise Unreachable(
            f"{endpoint.name} failed during the work: {error}\n"
            "Remedy: run the same command again; "
            "the embedded server's log is .state/weaviate/server.log"
        ) from error
    finally:
        client.close()


def _client_settings(endpoint: Endpoint) -> dict[str, Any]:
    from weaviate.classes.init import AdditionalConfig, Auth, GrpcConfig, Timeout

    # Otherwise a client shares the connection of one whose server was killed on the same port.
    own_channel = GrpcConfig(channel_options=[("grpc.use_local_subchannel_pool", 1)])
    timeout = Timeout(init=20, query=60, insert=120)  # seconds
    return {
        "http_host": endpoint.host,
        "http_port": endpoint.http_port,
        "http_secure": endpoint.is_secure,
        "grpc_host": endpoint.host,
        "grpc_port": endpoint.grpc_port,
        "grpc_secure": endpoint.is_secure,
        "auth_credentials": Auth.api_key(endpoint.api_key) if endpoint.api_key else None,
        "additional_config": AdditionalConfig(timeout=timeout, grpc_config=own_channel),
    }
