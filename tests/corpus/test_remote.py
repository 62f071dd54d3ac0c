import asyncio
import importlib.util
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.config.ingest import FilesSource, GitSource, HfSource, SqlSource, WebSource
from pipelines.contracts.fetched import FETCHED
from pipelines.corpus import remote
from pipelines.corpus.sources import found
from pipelines.errors import UserError

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
MOST = 1 << 16


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Site(SimpleHTTPRequestHandler):
    """The files of a folder, with a log of (path, status)."""

    log: list[tuple[str, int]]

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        type(self).log.append((self.path, int(code)))

    def do_GET(self) -> None:
        if self.path == "/docs/moved.html":
            self.send_response(302)
            self.send_header("Location", "/docs/b.html")
            self.end_headers()
            return
        if self.path == "/docs/locked.md":
            self.send_error(403)
            return
        super().do_GET()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path, list[tuple[str, int]]]]:
    """A real HTTP server on a folder: its address, the folder and what it was asked for. It honors If-Modified-Since."""
    folder = tmp_path / "site"
    (folder / "docs").mkdir(parents=True)
    log: list[tuple[str, int]] = []
    handler = type("Handler", (Site,), {"log": log, "__init__": lambda self, *arguments: Site.__init__(self, *arguments, directory=str(folder))})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder, log
        server.shutdown()


def rows(name: str) -> dict[str, Any]:
    """uri -> content, or its problem, of a snapshot."""
    return {row["uri"]: row["problem"] or row["content"] for row in files.read(remote.snapshot(name), FETCHED)}


def web(start: str, max_pages: int = 99) -> WebSource:
    return WebSource(kind="web", name="site", start=start, max_pages=max_pages, requests_per_second=1000)


def test_links_are_followed_within_the_folder_as_robots_txt_allows(site: tuple[str, Path, list[tuple[str, int]]]) -> None:
    address, folder, log = site
    (folder / "robots.txt").write_text("User-agent: *\nDisallow: /docs/private\n")
    (folder / "docs/index.html").write_text(
        '<a href="a.html#part">a</a> <a href="/docs/private.html">p</a> <a href="/other.html">o</a> <a href="http://elsewhere.example/x">x</a> <a href="gone.html">g</a>'
    )
    (folder / "docs/a.html").write_text('<a href="index.html">back</a><a href="moved.html">m</a>')
    (folder / "docs/b.html").write_text("<p>moved here</p>")
    assert remote.fetch(web(f"{address}/docs/index.html"), MOST) == 4
    held = rows("site")
    assert held.keys() == {"site/docs/index.html", "site/docs/a.html", "site/docs/gone.html", "site/docs/moved.html"}
    assert (held["site/docs/gone.html"], held["site/docs/moved.html"]) == ("HTTP 404", b"<p>moved here</p>")
    assert {path for path, _ in log} == {"/robots.txt", "/docs/index.html", "/docs/a.html", "/docs/gone.html", "/docs/moved.html", "/docs/b.html"}


def test_a_sitemap_gives_the_pages_and_the_second_fetch_brings_only_what_changed(site: tuple[str, Path, list[tuple[str, int]]]) -> None:
    address, folder, log = site
    for name in "abc":
        (folder / f"docs/{name}.html").write_text(f"<p>{name}</p>")
        os.utime(folder / f"docs/{name}.html", (1_700_000_000, 1_700_000_000))
    urls = "".join(f"<url><loc>{address}/docs/{name}.html</loc></url>" for name in "abc")
    (folder / "docs/pages.xml").write_text(f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>')
    (folder / "docs/sitemap.xml").write_text(f"<sitemapindex><sitemap><loc>{address}/docs/pages.xml</loc></sitemap></sitemapindex>")
    remote.fetch(web(f"{address}/docs/sitemap.xml"), MOST)
    first = files.digest(remote.snapshot("site"))
    log.clear()
    remote.fetch(web(f"{address}/docs/sitemap.xml"), MOST)
    assert files.digest(remote.snapshot("site")) == first
    assert [(path, code) for path, code in log if path.endswith(".html")] == [(f"/docs/{name}.html", 304) for name in "abc"]
    (folder / "docs/b.html").write_text("<p>new</p>")
    log.clear()
    remote.fetch(web(f"{address}/docs/sitemap.xml"), MOST)
    assert [code for path, code in log if path.endswith(".html")] == [304, 200, 304]
    assert rows("site") == {"site/docs/a.html": b"<p>a</p>", "site/docs/b.html": b"<p>new</p>", "site/docs/c.html": b"<p>c</p>"}


def test_pages_are_bounded_in_number_size_and_rate(site: tuple[str, Path, list[tuple[str, int]]]) -> None:
    address, folder, _ = site
    (folder / "docs/index.html").write_text("".join(f'<a href="{number}.html">x</a>' for number in range(9)))
    for number in range(9):
        (folder / f"docs/{number}.html").write_text("x" * (MOST + 1 if number == 0 else 3))
    source = WebSource(kind="web", name="site", start=f"{address}/docs/index.html", max_pages=4, requests_per_second=10)
    began = time.monotonic()
    assert remote.fetch(source, MOST) == 5
    assert time.monotonic() - began >= 0.3
    assert rows("site")["site/docs/3.html"] == "not asked for, as 5 others that are known: the source's max_pages (4) was reached"
    assert "more bytes than ingest.limits.max_document_mib" in rows("site")["site/docs/0.html"]


def test_a_site_that_does_not_answer_keeps_the_last_snapshot(site: tuple[str, Path, list[tuple[str, int]]]) -> None:
    address, folder, _ = site
    (folder / "docs/index.html").write_text("<p>kept</p>")
    remote.fetch(web(f"{address}/docs/index.html"), MOST)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match="source site: 127.0.0.1:\\d+ does not answer"):
        remote.fetch(web(f"http://127.0.0.1:{port}/docs/index.html"), MOST)
    assert rows("site") == {"site/docs/index.html": b"<p>kept</p>"}


def test_files_are_fetched_by_http_and_told_where_none_match(site: tuple[str, Path, list[tuple[str, int]]]) -> None:
    address, folder, _ = site
    (folder / "docs/a.md").write_text("# A")
    (folder / "docs/b.txt").write_text("b" * (MOST + 9))
    source = FilesSource(kind="files", name="shared", path=f"{address}/docs", globs=["*.md", "*.txt"])
    assert remote.fetch(source, MOST) == 2
    assert rows("shared")["shared/a.md"] == b"# A"
    assert "more than ingest.limits.max_document_mib" in rows("shared")["shared/b.txt"]
    assert [document.uri for document in found(source, {}, MOST)] == ["shared/a.md", "shared/b.txt"]
    with pytest.raises(UserError, match=r"no file below .+ matches \['\*\.pdf'\]"):
        remote.fetch(source.model_copy(update={"globs": ["*.pdf"]}), MOST)
    (folder / "docs/locked.md").write_text("# locked")
    with pytest.raises(UserError, match=r"source shared: http://\S+ cannot be read at shared/locked\.md: ClientResponseError: 403"):
        remote.fetch(source, MOST)
    assert rows("shared").keys() == {"shared/a.md", "shared/b.txt"}


def test_files_are_fetched_from_a_real_sftp_server_with_the_password_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncssh

    (tmp_path / "served/docs/deep").mkdir(parents=True)
    (tmp_path / "served/docs/deep/a.md").write_text("# A")
    (tmp_path / "served/docs/linked.md").symlink_to("deep/a.md")
    (tmp_path / "served/docs/folder.md").symlink_to("deep")
    key = asyncssh.generate_private_key("ssh-ed25519")

    class Door(asyncssh.SSHServer):  # type: ignore[misc]
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("ada", "secret")

    ports: list[int] = []
    loop = asyncio.new_event_loop()
    opened = threading.Event()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        started = loop.run_until_complete(asyncssh.listen("127.0.0.1", 0, server_host_keys=[key], server_factory=Door, sftp_factory=True))
        ports.append(started.get_port())
        opened.set()
        loop.run_forever()

    threading.Thread(target=serve, daemon=True).start()
    assert opened.wait(20)
    monkeypatch.setenv("SHARE_PASSWORD", "secret")
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "home/.ssh/known_hosts").write_text(f"[127.0.0.1]:{ports[0]} {key.export_public_key().decode()}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    source = FilesSource(kind="files", name="share", path=f"ssh://ada:${{SHARE_PASSWORD}}@127.0.0.1:{ports[0]}{tmp_path}/served/docs", globs=["**/*.md"])
    assert remote.fetch(source, MOST) == 2
    assert rows("share") == {"share/deep/a.md": b"# A", "share/linked.md": b"# A"}
    loop.call_soon_threadsafe(loop.stop)


def test_an_address_whose_package_is_missing_is_told_with_the_package_and_the_command() -> None:
    if importlib.util.find_spec("ossfs"):
        pytest.skip("ossfs is installed here")
    with pytest.raises(UserError, match=r"source bucket: oss:// needs a package that is not installed: .*ossfs.*\. Add it to pyproject\.toml, then `make lock setup`"):
        remote.fetch(FilesSource(kind="files", name="bucket", path="oss://books/docs", globs=["**/*.md"]), MOST)


@pytest.mark.slow
def test_a_data_set_of_the_hub_that_cannot_be_had_is_told_with_what_to_check() -> None:
    source = HfSource(kind="hf", name="rows", dataset="somebody/rows", revision="0" * 40, data_files=[], split="train", id_column=None, text_column="body", title_column=None)
    with pytest.raises(UserError, match=r"source rows: somebody/rows cannot be read: .*\. Check its name, the revision and the network; a private one needs HF_TOKEN in the environment"):
        remote.fetch(source, MOST)


def test_a_password_in_the_file_and_a_missing_variable_are_refused() -> None:
    with pytest.raises(ValueError, match="the password stands in the file"):
        FilesSource(kind="files", name="share", path="ssh://ada:secret@host/docs", globs=["*"])
    with pytest.raises(ValueError, match="the password stands in the file"):
        sql("postgresql+psycopg://ada:secret@host/db")
    with pytest.raises(UserError, match="source rows: the environment has no NO_SUCH_VARIABLE"):
        remote.fetch(sql("sqlite:///${NO_SUCH_VARIABLE}"), MOST)


def sql(url: str, query: str = "SELECT id, title, body FROM pages ORDER BY id") -> SqlSource:
    return SqlSource(kind="sql", name="rows", url=url, query=query, id_column="id", text_column="body", title_column="title")


def test_rows_of_a_query_are_fetched_from_sqlite() -> None:
    with sqlite3.connect("pages.db") as connection:
        connection.execute("CREATE TABLE pages (id INTEGER, title TEXT, body TEXT)")
        connection.executemany("INSERT INTO pages VALUES (?, ?, ?)", [(1, "Soup", "Boil it."), (2, None, None)])
    assert remote.fetch(sql("sqlite:///pages.db"), MOST) == 2
    assert [(document.uri, document.content, document.title) for document in found(sql("sqlite:///pages.db"), {}, MOST)] == [("rows/1", b"Boil it.", "Soup"), ("rows/2", b"", None)]
    with pytest.raises(UserError, match="the query gives no column body; it gives id, title"):
        remote.fetch(sql("sqlite:///pages.db", "SELECT id, title FROM pages"), MOST)
    with pytest.raises(UserError, match="the database refuses: OperationalError: no such table: gone"):
        remote.fetch(sql("sqlite:///pages.db", "SELECT * FROM gone"), MOST)


@pytest.mark.skipif(not POSTGRES, reason="PostgreSQL is not installed")
def test_rows_of_a_query_are_fetched_from_postgresql_with_the_password_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(subprocess.run(["mktemp", "-d", "/tmp/pg.XXXXXX"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        (folder / "password").write_text("a secret")
        for path in (folder, folder / "password"):
            if as_user:
                shutil.chown(path, "postgres")
        command = str(POSTGRES[-1].with_name("pg_ctl"))
        subprocess.run([*as_user, str(POSTGRES[-1]), "-D", f"{folder}/data", "-U", "ada", "--auth=scram-sha-256", f"--pwfile={folder}/password"], check=True, capture_output=True)
        started = subprocess.run(
            [*as_user, command, "-D", f"{folder}/data", "-w", "-l", f"{folder}/log", "-o", f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}", "start"],
            capture_output=True,
            text=True,
        )
        assert started.returncode == 0, started.stderr
        monkeypatch.setenv("DOCS_PASSWORD", "a secret")
        import psycopg

        with psycopg.connect(f"postgresql://ada:a%20secret@127.0.0.1:{port}/postgres") as connection:
            connection.execute("CREATE TABLE pages AS SELECT n AS id, 'Page ' || n AS title, 'Text of page ' || n AS body FROM generate_series(1, 1200) n")
        assert remote.fetch(sql(f"postgresql+psycopg://ada:${{DOCS_PASSWORD}}@127.0.0.1:{port}/postgres"), MOST) == 1200
        assert rows("rows")["rows/1200"] == b"Text of page 1200"
    finally:
        subprocess.run([*as_user, str(POSTGRES[-1].with_name("pg_ctl")), "-D", f"{folder}/data", "-m", "immediate", "stop"], capture_output=True)
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
def test_rows_of_a_local_data_set_are_fetched(kind: str) -> None:
    import pandas as pd

    frame = pd.DataFrame({"key": ["a", "b"], "name": ["Soup", "Bread"], "body": ["Boil it.", "Bake it."]})
    {"json": lambda: frame.to_json("rows.json", orient="records", lines=True), "csv": lambda: frame.to_csv("rows.csv", index=False), "parquet": lambda: frame.to_parquet("rows.parquet")}[kind]()
    source = HfSource(kind="hf", name="rows", dataset=kind, revision=None, data_files=[f"rows.{kind}"], split="train", id_column="key", text_column="body", title_column="name")
    assert remote.fetch(source, MOST) == 2
    assert [(document.uri, document.content, document.title) for document in found(source, {}, MOST)] == [("rows/a", b"Boil it.", "Soup"), ("rows/b", b"Bake it.", "Bread")]
    with pytest.raises(UserError, match="the data set has no column nope; it has key, name, body"):
        remote.fetch(source.model_copy(update={"text_column": "nope"}), MOST)
    with pytest.raises(UserError, match="is a hub id and needs `revision`"):
        remote.fetch(source.model_copy(update={"data_files": [], "dataset": "somebody/rows"}), MOST)


def test_files_of_a_repository_are_fetched_at_their_revision(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments], cwd=tmp_path / "repository", check=True, capture_output=True)

    (tmp_path / "repository/docs/deep").mkdir(parents=True)
    git("init", "-q", "-b", "main")
    (tmp_path / "repository/docs/deep/a.md").write_text("# old")
    (tmp_path / "repository/code.py").write_text("x = 1")
    git("add", "-A")
    git("commit", "-qm", "one")
    git("tag", "v1")
    (tmp_path / "repository/docs/deep/a.md").write_text("# new")
    git("commit", "-qam", "two")
    source = GitSource(kind="git", name="repo", repository=str(tmp_path / "repository"), revision="v1", globs=["docs/**/*.md"])
    assert remote.fetch(source, MOST) == 1
    assert rows("repo") == {"repo/docs/deep/a.md": b"# old"}
    remote.fetch(source.model_copy(update={"revision": "main"}), MOST)
    assert rows("repo") == {"repo/docs/deep/a.md": b"# new"}
    with pytest.raises(UserError, match="source repo: Git says: there is no revision v9"):
        remote.fetch(source.model_copy(update={"revision": "v9"}), MOST)
    with pytest.raises(UserError, match="no file of .+ at v1 matches"):
        remote.fetch(source.model_copy(update={"globs": ["*.pdf"]}), MOST)


def test_a_remote_source_that_was_not_fetched_is_told_with_its_command() -> None:
    with pytest.raises(UserError, match="source site has not been fetched: `python -m pipelines fetch site`"):
        list(found(web("https://example.org/docs/index.html"), {}, MOST))
