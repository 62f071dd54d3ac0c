"""Errors and reasons that all kinds of sources share."""

from pipelines.errors import UserError


def source_error(name: str, problem: str) -> UserError:
    """An error that names the source's entry in params.yaml."""
    return UserError(f"params.yaml: ingest.sources: source {name}: {problem}")


def too_large(num_bytes: int, max_bytes: int) -> str:
    """Why a document of this size has no content."""
    limit = f"ingest.limits.max_document_mib allows ({max_bytes:,} bytes)"
    return f"has {num_bytes:,} bytes, more than {limit}"
