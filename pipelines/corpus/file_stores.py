"""Files below a URL that fsspec opens: S3, Google Cloud Storage, Azure, HTTP, SFTP and so on."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from pipelines.config.ingest import FilesSource
from pipelines.corpus.problems import source_error
from pipelines.corpus.snapshots import Row, expand_variables, make_row


def read_files(source: FilesSource, max_bytes: int) -> Iterator[Row]:
    """Files that match the globs. Each protocol's package takes credentials from the environment.

    Raises UserError if nothing matches, or if a file cannot be read.
    """
    url = expand_variables(source.path, source.name).rstrip("/")
    with _user_errors(source, "cannot be listed"):
        system, root = _open_file_system(url)
        names = _matching_files(system, root, source.globs)
    if not names:
        problem = f"no file below {source.path} matches {source.globs}"
        raise source_error(source.name, problem)
    for name in names:
        uri = f"{source.name}/{name.removeprefix(root).lstrip('/')}"
        with _user_errors(source, f"cannot be read at {uri}"), system.open(name, "rb") as file:
            content = file.read(max_bytes + 1)
        yield make_row(uri, content, max_bytes)


def _open_file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the URL's path in it."""
    import fsspec

    options: dict[str, str] = {}
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
            if entry["type"] == "file" or is_link_to_file:
                names.add(name)
    return sorted(names)


@contextmanager
def _user_errors(source: FilesSource, failure: str) -> Iterator[None]:
    """Turn any error into a UserError with the first line of its reason.

    Each protocol's package raises errors of its own, so no narrower class would do.
    """
    try:
        yield
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
        raise source_error(
            source.name,
            f"{source.path} {failure}: {reason}. "
            "Check the address, the network, and the credentials in the environment",
        ) from error
