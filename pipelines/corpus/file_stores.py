"""Files below a URL that fsspec opens: S3, Google Cloud Storage, Azure, HTTP, SFTP and so on."""

import asyncio
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from pipelines.config.ingest import FilesSource, local_url_problem
from pipelines.corpus.hosts import HostRule, is_below
from pipelines.corpus.problems import source_error
from pipelines.corpus.snapshots import FetchBounds, Row, expand_variables, make_row
from pipelines.errors import UserError

WEB = ("http", "https")
SSH = ("ssh", "sftp")
CHAIN = "::"  # between the parts of an fsspec URL such as zip://*.md::https://host/docs.zip


def read_files(source: FilesSource, bounds: FetchBounds) -> Iterator[Row]:
    """Files that match the globs. Each protocol's package takes credentials from the environment.

    Raises UserError if nothing matches, or if a file cannot be read.
    """
    max_bytes = bounds.max_bytes
    url = expand_variables(source.path, source.name).rstrip("/")
    problem = local_url_problem(url)
    if problem:
        raise source_error(source.name, problem)
    with _user_errors(source, "cannot be listed"):
        options = _protocol_options(source, url, bounds.allowed_hosts)
        system, root = _open_file_system(url, options)
        names = _matching_files(system, root, source.globs)
    if not names:
        problem = f"no file below {source.path} matches {source.globs}"
        raise source_error(source.name, problem)
    for name in names:
        uri = f"{source.name}/{name.removeprefix(root).lstrip('/')}"
        with _user_errors(source, f"cannot be read at {uri}"), system.open(name, "rb") as file:
            content = file.read(max_bytes + 1)
        yield make_row(uri, content, max_bytes)


def _protocol_options(
    source: FilesSource, url: str, allowed_hosts: tuple[str, ...]
) -> dict[str, Any]:
    """Options of the URL's protocols, by their names."""
    options: dict[str, Any] = {}
    for part in url.split(CHAIN):
        protocol = part.partition("://")[0]
        if protocol in WEB:
            rule = HostRule(part, allowed_hosts)
            check = partial(_check_request, source, rule)
            options[protocol] = {"client_kwargs": {"middlewares": (check,)}}
        elif protocol in SSH:
            # asyncssh's default, ~/.ssh/known_hosts; sshfs would trust any key.
            options[protocol] = {"known_hosts": ()}
    return options


async def _check_request(source: FilesSource, rule: HostRule, request: Any, handler: Any) -> Any:
    """Refuses requests that leave the host, redirects included, and answers from private ones.

    aiohttp calls it for each of them.
    """
    url = str(request.url)
    problem = await asyncio.to_thread(rule.problem, url)
    if problem:
        raise source_error(source.name, problem)
    answer = await handler(request)
    connection = answer.connection
    peer = connection.transport.get_extra_info("peername") if connection else None
    problem = rule.peer_problem(url, peer and str(peer[0]))
    if problem:
        answer.close()
        raise source_error(source.name, problem)
    return answer


def _open_file_system(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the URL's path in it."""
    import fsspec

    options = dict(options)
    if url.startswith(("gs://", "gcs://")) and "GOOGLE_APPLICATION_CREDENTIALS" in os.environ:
        # gcsfs then uses this credentials file or says why it cannot. By default it would try
        # other credentials, and ask anonymously in the end.
        options["token"] = "google_default"  # noqa: S105 (names a method)
    with warnings.catch_warnings():
        # Google's packages warn at each import; weaviate-client holds grpcio back.
        warnings.filterwarnings("ignore", r"(?s).*grpcio.*Post-Quantum", FutureWarning)
        # A cached instance would keep its old listings and credentials.
        system, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, **options)
    return system, root


def _matching_files(system: Any, root: str, globs: list[str]) -> list[str]:
    """Sorted names of files, and of links to files, that match one of the globs."""
    names: set[str] = set()
    for glob in globs:
        entries = system.glob(f"{root}/{glob}", detail=True)
        for name, entry in entries.items():
            is_link_to_file = entry["type"] == "link" and system.isfile(name)
            is_file = entry["type"] == "file" or is_link_to_file
            # A web server's listing may link to "../../private".
            if is_file and (not root.startswith(WEB) or is_below(name, f"{root}/")):
                names.add(name)
    return sorted(names)


@contextmanager
def _user_errors(source: FilesSource, failure: str) -> Iterator[None]:
    """Turn any error into a UserError with the first line of its reason.

    Each protocol's package raises errors of its own, so no narrower class would do.
    """
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        scheme = urlsplit(source.path).scheme
        raise source_error(
            source.name,
            f"{scheme}:// needs a package that is not installed: {error}. "
            "Add it to pyproject.toml, then run `make lock setup`",
        ) from error
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0].rstrip('.')}"
        remedy = "Check the address, the network, and the credentials in the environment"
        if source.path.startswith(SSH):
            remedy += (
                ". The server's key must be in ~/.ssh/known_hosts: connect once with `ssh` and "
                "compare the fingerprint"
            )
        raise source_error(source.name, f"{source.path} {failure}: {reason}. {remedy}") from error
