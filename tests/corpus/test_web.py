import gzip
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
from tests.corpus.conftest import Answer, Contents, WebServer

MAX_BYTES = 1 << 16
HERE = ("127.0.0.1",)  # private addresses are refused otherwise
SITEMAP = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</urlset>'


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
    assert remote.fetch(web_source(f"{site.url}/docs/index.html"), MAX_BYTES, HERE) == 4
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

    remote.fetch(source, MAX_BYTES, HERE)
    first = files.digest(snapshot_path("site"))
    site.requests.clear()
    remote.fetch(source, MAX_BYTES, HERE)
    assert files.digest(snapshot_path("site")) == first
    page_requests = [request for request in site.requests if request[0].endswith(".html")]
    assert page_requests == [(f"/docs/{name}.html", 304) for name in "abc"]

    (site.folder / "docs/b.html").write_text("<p>new</p>")
    site.requests.clear()
    remote.fetch(source, MAX_BYTES, HERE)
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
    assert remote.fetch(source, MAX_BYTES, HERE) == 5
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
    remote.fetch(web_source(f"{site.url}/docs/index.html"), MAX_BYTES, HERE)
    (port,) = free_ports(1)
    with pytest.raises(UserError, match="source site: 127.0.0.1:\\d+ does not answer"):
        remote.fetch(web_source(f"http://127.0.0.1:{port}/docs/index.html"), MAX_BYTES, HERE)
    assert contents("site") == {"site/docs/index.html": b"<p>kept</p>"}


def list_pages(*urls: str) -> str:
    """A sitemap of these pages."""
    return SITEMAP.format("".join(f"<url><loc>{url}</loc></url>" for url in urls))


def list_sitemaps(*urls: str) -> str:
    """A sitemap of these sitemaps."""
    sitemaps = "".join(f"<sitemap><loc>{url}</loc></sitemap>" for url in urls)
    return f"<sitemapindex>{sitemaps}</sitemapindex>"


def test_packed_sitemaps_are_read_whatever_they_are_named(
    site: WebServer, contents: Contents
) -> None:
    for name in "ab":
        (site.folder / f"docs/{name}.html").write_text(name)
    one = gzip.compress(list_pages(f"{site.url}/docs/a.html").encode())
    two = gzip.compress(list_pages(f"{site.url}/docs/b.html").encode())
    (site.folder / "docs/one.xml.gz").write_bytes(one)
    (site.folder / "docs/two.xml").write_bytes(two)
    index = list_sitemaps(f"{site.url}/docs/one.xml.gz", f"{site.url}/docs/two.xml")
    (site.folder / "docs/all.xml.gz").write_bytes(gzip.compress(index.encode()))
    assert remote.fetch(web_source(f"{site.url}/docs/all.xml.gz"), MAX_BYTES, HERE) == 2
    assert contents("site") == {"site/docs/a.html": b"a", "site/docs/b.html": b"b"}


def test_a_sitemap_of_another_host_or_that_is_missing_is_a_rejection_and_not_requested(
    site: WebServer, contents: Contents
) -> None:
    (site.folder / "docs/a.html").write_text("a")
    (site.folder / "pages.xml").write_text(list_pages(f"{site.url}/docs/a.html"))
    elsewhere = site.url.replace("127.0.0.1", "localhost")
    index = list_sitemaps(
        f"{elsewhere}/pages.xml",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        f"{site.url}/gone.xml",
        f"{site.url}/pages.xml",
    )
    (site.folder / "docs/sitemap.xml").write_text(index)
    remote.fetch(web_source(f"{site.url}/docs/sitemap.xml"), MAX_BYTES, HERE)
    remedy = "if it may be fetched from, add it to fetch.allowed_hosts in params.yaml"
    port = site.url.rpartition(":")[2]
    other = "is not the source's host, 127.0.0.1: " + remedy
    assert contents("site") == {
        "site/docs/a.html": b"a",
        f"site/localhost:{port}/pages.xml": f"a sitemap that is not read: localhost {other}",
        "site/169.254.169.254/latest/meta-data": (
            f"a sitemap that is not read: 169.254.169.254 {other}"
        ),
        "site/etc/passwd": (
            "a sitemap that is not read: file:///etc/passwd is no address of a web page"
        ),
        "site/gone.xml": "a sitemap that is not read: HTTP 404",
    }
    assert [path for path, _ in site.requests].count("/pages.xml") == 1


def test_a_host_that_is_allowed_may_hold_sitemaps(site: WebServer, contents: Contents) -> None:
    (site.folder / "docs/a.html").write_text("a")
    (site.folder / "pages.xml").write_text(list_pages(f"{site.url}/docs/a.html"))
    elsewhere = site.url.replace("127.0.0.1", "localhost")
    (site.folder / "docs/sitemap.xml").write_text(list_sitemaps(f"{elsewhere}/pages.xml"))
    source = web_source(f"{site.url}/docs/sitemap.xml")
    assert remote.fetch(source, MAX_BYTES, ("127.0.0.0/8", "localhost")) == 1
    assert contents("site") == {"site/docs/a.html": b"a"}


def test_a_sitemap_without_a_page_of_the_source_is_an_error(site: WebServer) -> None:
    listing = list_pages("https://www.kitchen.example/docs/a.html", f"{site.url}/docs/../b.html")
    (site.folder / "docs/sitemap.xml").write_text(listing)
    problem = "none of the 2 addresses that .* lists may be read, such as https://www.kitchen"
    with pytest.raises(UserError, match=problem):
        remote.fetch(web_source(f"{site.url}/docs/sitemap.xml"), MAX_BYTES, HERE)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_a_private_address_is_refused_before_anything_is_requested(
    site: WebServer, host: str
) -> None:
    start = site.url.replace("127.0.0.1", host) + "/docs/"
    with pytest.raises(UserError, match=r"private address .*add it to fetch\.allowed_hosts"):
        remote.fetch(web_source(start), MAX_BYTES)
    assert site.requests == []


@pytest.mark.parametrize("name", ["page", "robots"])
def test_a_redirect_to_another_host_is_not_followed(
    site: WebServer, contents: Contents, name: str
) -> None:
    elsewhere = site.url.replace("127.0.0.1", "localhost")
    (site.folder / "docs/index.html").write_text('<a href="page.html">page</a>')
    away = Answer(302, {"Location": f"{elsewhere}/docs/secret.html"})
    if name == "page":
        site.answers["/docs/page.html"] = away
        remote.fetch(web_source(f"{site.url}/docs/index.html"), MAX_BYTES, HERE)
        problem = f"redirects out of the site, to {elsewhere}/docs/secret.html"
        assert contents("site")["site/docs/page.html"] == problem
    else:
        site.answers["/robots.txt"] = away
        with pytest.raises(UserError, match="localhost is not the source's host, 127.0.0.1"):
            remote.fetch(web_source(f"{site.url}/docs/index.html"), MAX_BYTES, HERE)
    assert "/docs/secret.html" not in [path for path, _ in site.requests]


def test_robots_txt_is_read_to_a_limit_and_through_five_redirects(site: WebServer) -> None:
    source = web_source(f"{site.url}/docs/index.html")
    (site.folder / "docs/index.html").write_text("a")
    site.answers["/robots.txt"] = Answer(200, {}, b"User-agent: *\n" * (40 << 10))
    with pytest.raises(UserError, match=r"/robots\.txt has more than 500 KiB"):
        remote.fetch(source, MAX_BYTES, HERE)
    packed = gzip.compress(b"User-agent: *\n" * (4 << 20))
    site.answers["/robots.txt"] = Answer(200, {"Content-Encoding": "gzip"}, packed)
    with pytest.raises(UserError, match=r"/robots\.txt has more than 500 KiB"):
        remote.fetch(source, MAX_BYTES, HERE)
    for number in range(9):
        target = {"Location": f"/robots-{number + 1}.txt"}
        site.answers[f"/robots-{number}.txt"] = Answer(302, target)
    site.answers["/robots.txt"] = site.answers["/robots-0.txt"]
    with pytest.raises(UserError, match=r"/robots\.txt redirects more than 5 times"):
        remote.fetch(source, MAX_BYTES, HERE)
    site.answers["/robots-4.txt"] = Answer(200, {}, b"User-agent: *\nDisallow: /private")
    assert remote.fetch(source, MAX_BYTES, HERE) == 1


def test_a_page_that_unpacks_to_more_than_the_limit_or_in_another_way_is_a_rejection(
    site: WebServer, contents: Contents
) -> None:
    links = "".join(f'<a href="{name}.html">x</a>' for name in ("bomb", "brotli", "cut", "fine"))
    (site.folder / "docs/index.html").write_text(links)
    packed = gzip.compress(bytes(1 << 28))
    site.answers["/docs/bomb.html"] = Answer(200, {"Content-Encoding": "gzip"}, packed)
    site.answers["/docs/brotli.html"] = Answer(200, {"Content-Encoding": "br"}, b"x")
    fine = gzip.compress(b"<p>fine</p>")
    site.answers["/docs/cut.html"] = Answer(200, {"Content-Encoding": "gzip"}, fine[:-9])
    site.answers["/docs/fine.html"] = Answer(200, {"Content-Encoding": "gzip"}, fine)
    remote.fetch(web_source(f"{site.url}/docs/index.html"), MAX_BYTES, HERE)
    pages = contents("site")
    assert "more bytes than ingest.limits.max_document_mib" in pages["site/docs/bomb.html"]
    assert pages["site/docs/brotli.html"] == "is packed with br, which was not asked for"
    assert pages["site/docs/cut.html"] == "ends in the middle of its packed content"
    assert pages["site/docs/fine.html"] == b"<p>fine</p>"
