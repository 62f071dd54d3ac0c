"""Rows of a database query or of a data set as documents."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.config.ingest import HfSource, SqlSource
from pipelines.corpus.problems import source_error
from pipelines.corpus.snapshots import FetchBounds, Row, expand_variables, make_row

ROWS_A_FETCH = 500
COMMIT = re.compile(r"[0-9a-f]{40}")


def read_query(source: SqlSource, bounds: FetchBounds) -> Iterator[Row]:
    """Rows of the query, streamed by the server if its driver can.

    Raises UserError if the database refuses, or if the query lacks a column.
    """
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = sqlalchemy.create_engine(expand_variables(source.url, source.name))
        with engine.connect() as connection:
            streaming = connection.execution_options(stream_results=True, yield_per=ROWS_A_FETCH)
            result = streaming.execute(sqlalchemy.text(source.query))
            _require_columns(source, "the query's result", result.keys())
            for record in result.mappings():
                yield _document(source, record, record[source.id_column], bounds.max_bytes)
    except (SQLAlchemyError, ImportError) as error:
        # `orig` is the driver's own error, without SQLAlchemy's quotation of the query.
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        problem = f"the database refuses: {type(error).__name__}: {reason}"
        raise source_error(source.name, problem) from error


def read_dataset(source: HfSource, bounds: FetchBounds) -> Iterator[Row]:
    """Rows of a data set, streamed.

    Raises UserError if it cannot be read, lacks a column, or is a hub id without a commit.
    """
    _require_commit(source)
    from datasets import load_dataset

    try:
        records = load_dataset(
            source.dataset,
            data_files=source.data_files or None,
            revision=source.revision,
            split=source.split,
            streaming=True,
        )
    except Exception as error:
        raise _unreadable(source, error) from error
    for number, record in enumerate(_records(source, records)):
        _require_columns(source, "the data set", record)
        key = record[source.id_column] if source.id_column else number
        yield _document(source, record, key, bounds.max_bytes)


def _records(source: HfSource, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    try:
        yield from records
    except Exception as error:
        raise _unreadable(source, error) from error


def _unreadable(source: HfSource, error: Exception) -> Exception:
    """The library raises its own, the hub's, Arrow's and Python's errors; all mean the same."""
    problem = f"{source.dataset} cannot be read: {type(error).__name__}: {error}"
    if not source.data_files:
        problem += (
            ". Check its name, the revision and the network; "
            "a private one needs HF_TOKEN in the environment"
        )
    return source_error(source.name, problem)


def _require_commit(source: HfSource) -> None:
    if source.data_files or COMMIT.fullmatch(source.revision or ""):
        return
    raise source_error(
        source.name,
        f"{source.dataset} is a hub id and needs `revision`, the commit's 40 hex digits; "
        "name local files under `data_files`",
    )


def _require_columns(source: SqlSource | HfSource, table: str, columns: Iterable[str]) -> None:
    present = list(columns)
    for name in (source.id_column, source.text_column, source.title_column):
        if name and name not in present:
            problem = f"{table} has no column {name}; it has {', '.join(present)}"
            raise source_error(source.name, problem)


def _document(
    source: SqlSource | HfSource, record: Mapping[Any, Any], key: object, max_bytes: int
) -> Row:
    """The row of a record that has the id `key`."""
    text = str(record[source.text_column] or "")
    title = record[source.title_column] if source.title_column else None
    return make_row(
        f"{source.name}/{key}",
        text.encode("utf-8", "replace"),
        max_bytes,
        title=None if title is None else str(title),
    )
