"""Bring the present content of remote sources into data/raw/fetched, where ingest reads it.

A source that cannot be read keeps its last snapshot and ends the command.
"""

import argparse

from pipelines import files
from pipelines.config import params
from pipelines.config.fetch import FetchConfig
from pipelines.config.ingest import IngestConfig, Source
from pipelines.corpus.remote import fetch
from pipelines.corpus.snapshots import is_remote, snapshot_path
from pipelines.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="?", help="name of one source (default: all that are remote)"
    )


def run(source: str | None) -> None:
    """Fetch every remote source of params.yaml, or the one of this name.

    Raises UserError if there is no such source or if one cannot be read.
    """
    values = params.load()
    config = values.section(IngestConfig)
    allowed_hosts = tuple(values.section(FetchConfig).allowed_hosts)
    remote_sources = [entry for entry in config.sources if is_remote(entry)]
    if source is None:
        chosen = remote_sources
    else:
        chosen = [entry for entry in remote_sources if entry.name == source]
    if source is not None and not chosen:
        names = ", ".join(entry.name for entry in remote_sources) or "none"
        raise UserError(
            f"params.yaml: ingest.sources has no remote source named {source}; "
            f"the remote sources are: {names}"
        )
    for entry in chosen:
        _fetch(entry, config.limits.max_document_mib << 20, allowed_hosts)
    if not chosen:
        print("params.yaml: ingest.sources has no remote source: nothing to fetch")


def _fetch(source: Source, max_bytes: int, allowed_hosts: tuple[str, ...]) -> None:
    """Replace one snapshot and print whether it changed."""
    path = snapshot_path(source.name)
    old_digest = files.digest(path) if path.exists() else None
    count = fetch(source, max_bytes, allowed_hosts)
    is_same = files.digest(path) == old_digest
    change = "unchanged" if is_same else "changed: `dvc repro` reads them"
    print(f"{source.name}: {count} documents in {path} ({change})")
