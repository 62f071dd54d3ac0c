import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.config.ingest import HfSource, Source, SqlSource
from pipelines.corpus import remote
from pipelines.corpus.sources import read_source
from pipelines.errors import UserError
from pipelines.system.processes import free_ports
from tests.corpus.conftest import Contents

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
MAX_BYTES = 1 << 16


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sql_source(url: str, query: str = "SELECT id, title, body FROM pages ORDER BY id") -> SqlSource:
    return SqlSource(
        kind="sql",
        name="rows",
        url=url,
        query=query,
        id_column="id",
        text_column="body",
        title_column="title",
    )


def documents(source: Source) -> list[tuple[str, bytes, str | None]]:
    """(uri, content, title) of the documents in a source's snapshot."""
    all_documents = read_source(source, {}, MAX_BYTES)
    return [(document.uri, document.content, document.title) for document in all_documents]


def test_rows_of_a_query_are_fetched_from_sqlite() -> None:
    with sqlite3.connect("pages.db") as connection:
        connection.execute("CREATE TABLE pages (id INTEGER, title TEXT, body TEXT)")
        pages = [(1, "Soup", "Boil it."), (2, None, None)]
        connection.executemany("INSERT INTO pages VALUES (?, ?, ?)", pages)
    source = sql_source("sqlite:///pages.db")
    assert remote.fetch(source, MAX_BYTES) == 2
    assert documents(source) == [("rows/1", b"Boil it.", "Soup"), ("rows/2", b"", None)]


def test_a_query_without_the_column_and_one_that_fails_are_reported() -> None:
    with sqlite3.connect("pages.db") as connection:
        connection.execute("CREATE TABLE pages (id INTEGER, title TEXT)")
    message = "the query's result has no column body; it has id, title"
    with pytest.raises(UserError, match=message):
        remote.fetch(sql_source("sqlite:///pages.db", "SELECT id, title FROM pages"), MAX_BYTES)
    message = "the database refuses: OperationalError: no such table: gone"
    with pytest.raises(UserError, match=message):
        remote.fetch(sql_source("sqlite:///pages.db", "SELECT * FROM gone"), MAX_BYTES)


@pytest.fixture
def postgres() -> Iterator[int]:
    """The port of a real PostgreSQL server with the user `ada`, whose password is `a secret`."""
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="pg."))  # a short path, for the server's Unix socket
    (folder / "password").write_text("a secret")
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        as_user = ["runuser", "-u", "postgres", "--"]
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
    data = ["-D", f"{folder}/data"]
    initdb = [*as_user, str(POSTGRES[-1] / "initdb"), *data]
    control = [*as_user, str(POSTGRES[-1] / "pg_ctl"), *data]
    login = ["-U", "ada", "--auth=scram-sha-256", f"--pwfile={folder}/password"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    start = [*control, "-w", "-l", f"{folder}/log", "-o", options, "start"]
    try:
        subprocess.run([*initdb, *login], check=True, capture_output=True)
        answer = subprocess.run(start, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert answer.returncode == 0, answer.stderr
        yield port
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], capture_output=True)
        shutil.rmtree(folder)


@pytest.mark.skipif(not POSTGRES, reason="PostgreSQL is not installed")
def test_rows_of_a_query_are_fetched_from_postgresql_with_the_password_from_the_environment(
    postgres: int, monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    import psycopg

    monkeypatch.setenv("DOCS_PASSWORD", "a secret")
    url = f"postgresql://ada:a%20secret@127.0.0.1:{postgres}/postgres"
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE pages AS SELECT n AS id, 'Page ' || n AS title, "
            "'Text of page ' || n AS body FROM generate_series(1, 1200) n"
        )
    source = sql_source(
        f"postgresql+psycopg://ada:${{DOCS_PASSWORD}}@127.0.0.1:{postgres}/postgres"
    )
    assert remote.fetch(source, MAX_BYTES) == 1200
    assert contents("rows")["rows/1200"] == b"Text of page 1200"


def local_source(kind: str) -> HfSource:
    return HfSource(
        kind="hf",
        name="rows",
        dataset=kind,
        revision=None,
        data_files=[f"rows.{kind}"],
        split="train",
        id_column="key",
        text_column="body",
        title_column="name",
    )


@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
def test_rows_of_a_local_data_set_are_fetched(kind: str) -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {"key": ["a", "b"], "name": ["Soup", "Bread"], "body": ["Boil it.", "Bake it."]}
    )
    if kind == "json":
        frame.to_json("rows.json", orient="records", lines=True)
    elif kind == "csv":
        frame.to_csv("rows.csv", index=False)
    else:
        frame.to_parquet("rows.parquet")
    source = local_source(kind)
    assert remote.fetch(source, MAX_BYTES) == 2
    assert documents(source) == [("rows/a", b"Boil it.", "Soup"), ("rows/b", b"Bake it.", "Bread")]
    message = "the data set has no column nope; it has key, name, body"
    with pytest.raises(UserError, match=message):
        remote.fetch(source.model_copy(update={"text_column": "nope"}), MAX_BYTES)


def test_a_hub_id_without_a_commit_is_refused() -> None:
    source = local_source("json")
    hub_source = source.model_copy(update={"data_files": [], "dataset": "somebody/rows"})
    with pytest.raises(UserError, match="is a hub id and needs `revision`"):
        remote.fetch(hub_source, MAX_BYTES)


@pytest.mark.slow
def test_a_data_set_of_the_hub_that_cannot_be_read_is_reported_with_what_to_check() -> None:
    source = HfSource(
        kind="hf",
        name="rows",
        dataset="somebody/rows",
        revision="0" * 40,
        data_files=[],
        split="train",
        id_column=None,
        text_column="body",
        title_column=None,
    )
    message = (
        r"source rows: somebody/rows cannot be read: .*\. Check its name, the revision and the "
        r"network; a private one needs HF_TOKEN in the environment"
    )
    with pytest.raises(UserError, match=message):
        remote.fetch(source, MAX_BYTES)
