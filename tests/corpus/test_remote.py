from pathlib import Path

import pytest

from pipelines.config.ingest import FilesSource, SqlSource, WebSource
from pipelines.corpus import remote
from pipelines.corpus.sources import read_source
from pipelines.errors import UserError

MAX_BYTES = 1 << 16


def sql_source(url: str) -> SqlSource:
    return SqlSource(
        kind="sql",
        name="rows",
        url=url,
        query="SELECT id, body FROM pages",
        id_column="id",
        text_column="body",
        title_column=None,
    )


def test_a_password_in_params_yaml_is_refused() -> None:
    with pytest.raises(ValueError, match="the password is in the file"):
        FilesSource(kind="files", name="share", path="ssh://ada:secret@host/docs", globs=["*"])
    with pytest.raises(ValueError, match="the password is in the file"):
        sql_source("postgresql+psycopg://ada:secret@host/db")


def test_an_environment_variable_that_is_not_set_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="source rows: the environment has no NO_SUCH_VARIABLE"):
        remote.fetch(sql_source("sqlite:///${NO_SUCH_VARIABLE}"), MAX_BYTES)


def test_a_source_that_was_not_fetched_is_reported_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = WebSource(
        kind="web",
        name="site",
        start="https://example.org/docs/index.html",
        max_pages=99,
        requests_per_second=1000,
    )
    message = "source site: it has not been fetched: run `python -m pipelines fetch site`"
    with pytest.raises(UserError, match=message):
        list(read_source(source, {}, MAX_BYTES))
