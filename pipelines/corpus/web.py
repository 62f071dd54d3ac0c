"""Knows a web site as a source: its pages by sitemap or links, as robots.txt allows, slowly, and only those that changed."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from pipelines.config.ingest import WebSource
from pipelines.errors import UserError

AGENT = "assistant-pipeline"
TIMEOUT_SECONDS = 30
MOST_REDIRECTS = 5


class Page(NamedTuple):
    """An answer. `content` is None where the site says that the page has not changed."""

    url: str
    content: bytes | None
    media_type: str | None
    etag: str | None
    modified: str | None
    problem: str | None = None


Validators = Callable[[str], tuple[str | None, str | None]]


def pages(source: WebSource, validators: Validators, links_of: Callable[[str], list[str]], max_bytes: int) -> Iterator[Page]:
    """Every page below the start's folder. `validators` gives (ETag, Last-Modified) of the last fetch, `links_of` the links of a page that has not changed."""
    import httpx

    with httpx.Client(headers={"User-Agent": AGENT}, timeout=TIMEOUT_SECONDS) as client:
        robots = _robots(client, source)
        wait = max(1 / source.requests_per_second, float(robots.crawl_delay(AGENT) or 0))
        clock = _Clock(wait)
        waiting = _sitemap(client, source.start, clock, max_bytes) if urlsplit(source.start).path.endswith(".xml") else [source.start]
        crawling = not urlsplit(source.start).path.endswith(".xml")
        below = source.start.rsplit("/", 1)[0] + "/" if urlsplit(source.start).path else source.start + "/"
        seen: set[str] = set()
        while waiting and len(seen) < source.max_pages:
            url = urldefrag(waiting.pop(0))[0]
            if url in seen or not url.startswith(below) or not robots.can_fetch(AGENT, url):
                continue
            seen.add(url)
            page = _fetched(client, url, below, clock, validators(url), max_bytes)
            if crawling and page.problem is None:
                waiting += _links(page) if page.content is not None else links_of(url)
            yield page


class _Clock:
    """Keeps requests apart."""

    def __init__(self, seconds: float):
        self._seconds, self._next = seconds, 0.0

    def tick(self) -> None:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + self._seconds


def _robots(client: Any, source: WebSource) -> RobotFileParser:
    """The site's rules; none where it has no robots.txt, all forbidden where it refuses to show it (RFC 9309, 2.3.1)."""
    import httpx

    parts = urlsplit(source.start)
    found = RobotFileParser()
    try:
        answer = client.get(f"{parts.scheme}://{parts.netloc}/robots.txt", follow_redirects=True)
    except httpx.HTTPError as error:
        raise UserError(f"params.yaml: ingest.sources: source {source.name}: {parts.netloc} does not answer: {error}") from error
    if answer.status_code >= 500 or answer.status_code in (401, 403):
        raise UserError(f"params.yaml: ingest.sources: source {source.name}: {parts.netloc}/robots.txt answers {answer.status_code}, which forbids every page")
    found.parse(answer.text.splitlines() if answer.status_code == 200 else [])
    return found


def _fetched(client: Any, url: str, below: str, clock: _Clock, known: tuple[str | None, str | None], max_bytes: int) -> Page:
    """One page, through redirects that stay on the site. What goes wrong is the page's problem."""
    import httpx

    headers = {name: value for name, value in zip(("If-None-Match", "If-Modified-Since"), known, strict=True) if value}
    address = url
    for _ in range(MOST_REDIRECTS):
        clock.tick()
        try:
            with client.stream("GET", address, headers=headers) as answer:
                if not answer.has_redirect_location:
                    return _read(answer, url, known, max_bytes)
                address = urljoin(address, answer.headers.get("location", ""))
        except httpx.HTTPError as error:
            return _refused(url, f"{type(error).__name__}: {error}")
        if not address.startswith(below):
            return _refused(url, f"leads out of the site, to {address}")
    return _refused(url, f"leads on more than {MOST_REDIRECTS} times")


def _read(answer: Any, url: str, known: tuple[str | None, str | None], max_bytes: int) -> Page:
    """The page of an answer that is no redirect."""
    if answer.status_code == 304:
        return Page(url, None, None, *known)
    if answer.status_code != 200:
        return _refused(url, f"HTTP {answer.status_code}")
    content = _body(answer, max_bytes)
    if content is None:
        return _refused(url, f"has more bytes than ingest.limits.max_document_mib allows ({max_bytes:,} bytes)")
    kind = answer.headers.get("content-type", "").split(";")[0].strip() or None
    return Page(url, content, kind, answer.headers.get("etag"), answer.headers.get("last-modified"))


def _refused(url: str, problem: str) -> Page:
    return Page(url, None, None, None, None, problem)


def _body(answer: Any, max_bytes: int) -> bytes | None:
    """The body, or None where it is too long."""
    content = b""
    for part in answer.iter_bytes():
        content += part
        if len(content) > max_bytes:
            return None
    return content


def _links(page: Page) -> list[str]:
    return links(page.url, page.content or b"") if page.media_type in ("text/html", "application/xhtml+xml") else []


def links(url: str, content: bytes) -> list[str]:
    """Addresses that a page's links lead to, in their order, each once."""
    from bs4 import BeautifulSoup

    found = (urljoin(url, str(link["href"])) for link in BeautifulSoup(content, "lxml").find_all("a", href=True))
    return list(dict.fromkeys(urldefrag(address)[0] for address in found))


def _sitemap(client: Any, start: str, clock: _Clock, max_bytes: int) -> list[str]:
    """Addresses of a sitemap, and of the sitemaps that it names."""
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    waiting, found = [start], []
    seen: set[str] = set()
    while waiting:
        url = waiting.pop(0)
        if url in seen:
            continue
        seen.add(url)
        page = _fetched(client, url, start.rsplit("/", 1)[0] + "/", clock, (None, None), max_bytes)
        if page.problem:
            raise UserError(f"the sitemap {url} cannot be had: {page.problem}")
        try:
            root = ElementTree.fromstring(page.content)
        except (ElementTree.ParseError, DefusedXmlException) as error:
            raise UserError(f"the sitemap {url} is no XML that can be read: {error}") from error
        addresses = [item.text.strip() for item in root.iter() if re.fullmatch(r"(\{.*\})?loc", str(item.tag)) and item.text]
        if str(root.tag).endswith("sitemapindex"):
            waiting += addresses
        else:
            found += addresses
    return found
