import os
import time
from pathlib import Path

import pytest

from pipelines import files
from pipelines.config.ingest import WebSource
from pipelines.corpus import remote
from pipelines.corpus.snapshots import snapshot_path
from pipelines.errors import UserError
from pipelines.system.processes import free_ports
from tests.corpus.conftest import Contents, WebServer

MAX_BYTES = 1 << 16


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def web_source(start: str, max_pages: int = 99, requests_per_second: float = 1000) -> WebSource:
    return WebSource(
        kind="web",
        name="site",
        start=start,
        max_pages=max_pages,
        requests_per_second=requests_per_second,
    )


def test_links_are_followed_within_the_folder_as_robots_txt_allows(
    site: WebServer, contents: Contents
) -> None:
    (site.folder / "robots.txt").write_text("User-agent: *\nDisallow: /docs/private\n")
    (site.folder / "docs/index.html").write_text(
        '<a href="a.html#part">a</a> <a href="/docs/private.html">p</a> '
        '<a href="/other.html">o</a> <a href="http://elsewhere.example/x">x</a> '
        '<a href="gone.html">g</a>'
    )
    (site.folder / "docs/a.html").write_text(
        '<a href="index.html">back</a><a href="moved.html">m</a>'
    )
    (site.folder / "docs/b.html").write_text("<p>moved here</p>")
    assert remote.fetch(web_source(f"{site.url}/docs/index.html"), MAX_BYTES) == 4
    pages = contents("site")
    assert pages.keys() == {
        "site/docs/index.html",
        "site/docs/a.html",
        "site/docs/gone.html",
        "site/docs/moved.html",
    }
    assert pages["site/docs/gone.html"] == "HTTP 404"
    assert pages["site/docs/moved.html"] == b"<p>moved here</p>"
    assert {path for path, _ in site.requests} == {
        "/robots.txt",
        "/docs/index.html",
        "/docs/a.html",
        "/docs/gone.html",
        "/docs/moved.html",
        "/docs/b.html",
    }


def test_a_sitemap_lists_the_pages_and_a_second_fetch_brings_only_what_changed(
    site: WebServer, contents: Contents
) -> None:
    for name in "abc":
        page = site.folder / f"docs/{name}.html"
        page.write_text(f"<p>{name}</p>")
        os.utime(page, (1_700_000_000, 1_700_000_000))
    urls = "".join(f"<url><loc>{site.url}/docs/{name}.html</loc></url>" for name in "abc")
    (site.folder / "docs/pages.xml").write_text(
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
    )
    (site.folder / "docs/sitemap.xml").write_text(
        f"<sitemapindex><sitemap><loc>{site.url}/docs/pages.xml</loc></sitemap></sitemapindex>"
    )
    source = web_source(f"{site.url}/docs/sitemap.xml")

    remote.fetch(source, MAX_BYTES)
    first = files.digest(snapshot_path("site"))
    site.requests.clear()
    remote.fetch(source, MAX_BYTES)
    assert files.digest(snapshot_path("site")) == first
    page_requests = [request for request in site.requests if request[0].endswith(".html")]
    assert page_requests == [(f"/docs/{name}.html", 304) for name in "abc"]

    (site.folder / "docs/b.html").write_text("<p>new</p>")
    site.requests.clear()
    remote.fetch(source, MAX_BYTES)
    statuses = [status for path, status in site.requests if path.endswith(".html")]
    assert statuses == [304, 200, 304]
    assert contents("site") == {
        "site/docs/a.html": b"<p>a</p>",
        "site/docs/b.html": b"<p>new</p>",
        "site/docs/c.html": b"<p>c</p>",
    }


def test_pages_are_bounded_in_number_size_and_rate(site: WebServer, contents: Contents) -> None:
    links = "".join(f'<a href="{number}.html">x</a>' for number in range(9))
    (site.folder / "docs/index.html").write_text(links)
    for number in range(9):
        length = MAX_BYTES + 1 if number == 0 else 3
        (site.folder / f"docs/{number}.html").write_text("x" * length)
    source = web_source(f"{site.url}/docs/index.html", max_pages=4, requests_per_second=10)
    start = time.monotonic()
    assert remote.fetch(source, MAX_BYTES) == 5
    assert time.monotonic() - start >= 0.3
    pages = contents("site")
    assert pages["site/docs/3.html"] == (
        "not fetched, like 5 other known pages: the source's max_pages (4) was reached"
    )
    assert "more bytes than ingest.limits.max_document_mib" in pages["site/docs/0.html"]


def test_a_site_that_does_not_answer_keeps_the_last_snapshot(
    site: WebServer, contents: Contents
) -> None:
    (site.folder / "docs/index.html").write_text("<p>kept</p>")
    remote.fetch(web_source(f"{site.url}/docs/index.html"), MAX_BYTES)
    (port,) = free_ports(1)
    with pytest.raises(UserError, match="source site: 127.0.0.1:\\d+ does not answer"):
        remote.fetch(web_source(f"http://127.0.0.1:{port}/docs/index.html"), MAX_BYTES)
    assert contents("site") == {"site/docs/index.html": b"<p>kept</p>"}
