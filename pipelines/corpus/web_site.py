"""A web site that is asked slowly, as its robots.txt allows, and only below one folder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from pipelines.config.ingest import WebSource
from pipelines.corpus.problems import source_error
from pipelines.corpus.snapshots import Validators

AGENT = "assistant-pipeline"
TIMEOUT_SECONDS = 30
MAX_REDIRECTS = 5
NO_VALIDATORS = Validators()


class Page(NamedTuple):
    """An answer. Without content and problem the site says that the page has not changed."""

    url: str
    content: bytes | None = None
    media_type: str | None = None
    validators: Validators = NO_VALIDATORS
    problem: str | None = None


def rejected_page(url: str, problem: str) -> Page:
    """A page that cannot be had, and why."""
    return Page(url, problem=problem)


class Site:
    """A connection to a site, with the site's rules."""

    def __init__(self, client: Any, source: WebSource, max_bytes: int):
        self._client = client
        self._max_bytes = max_bytes
        self._robots = _fetch_robots(client, source)
        self._folder = _folder_of(source.start)
        crawl_delay = float(self._robots.crawl_delay(AGENT) or 0)
        self._seconds_apart = max(1 / source.requests_per_second, crawl_delay)
        self._next_request = 0.0  # of the monotonic clock

    def allows(self, url: str) -> bool:
        """Whether the URL is below the folder, and robots.txt permits it."""
        return url.startswith(self._folder) and self._robots.can_fetch(AGENT, url)

    def get(self, url: str, validators: Validators = NO_VALIDATORS) -> Page:
        """One page, through redirects that stay below the folder.

        `validators` are those of the page's last fetch. What goes wrong is the page's problem.
        """
        import httpx

        headers = _conditions(validators)
        target = url
        for _ in range(MAX_REDIRECTS):
            self._wait()
            try:
                with self._client.stream("GET", target, headers=headers) as answer:
                    if not answer.has_redirect_location:
                        return self._page(answer, url, validators)
                    target = urljoin(target, answer.headers.get("location", ""))
            except httpx.HTTPError as error:
                return rejected_page(url, f"{type(error).__name__}: {error}")
            if not target.startswith(self._folder):
                return rejected_page(url, f"redirects out of the site, to {target}")
        return rejected_page(url, f"redirects more than {MAX_REDIRECTS} times")

    def _wait(self) -> None:
        """Keep requests apart."""
        time.sleep(max(0.0, self._next_request - time.monotonic()))
        self._next_request = time.monotonic() + self._seconds_apart

    def _page(self, answer: Any, url: str, validators: Validators) -> Page:
        """The page of an answer that is not a redirect."""
        if answer.status_code == 304:
            return Page(url, validators=validators)
        if answer.status_code != 200:
            return rejected_page(url, f"HTTP {answer.status_code}")
        content = self._read_body(answer)
        if content is None:
            limit = f"ingest.limits.max_document_mib allows ({self._max_bytes:,} bytes)"
            return rejected_page(url, f"has more bytes than {limit}")
        headers = answer.headers
        media_type = headers.get("content-type", "").split(";")[0].strip() or None
        current = Validators(headers.get("etag"), headers.get("last-modified"))
        return Page(url, content, media_type, current)

    def _read_body(self, answer: Any) -> bytes | None:
        """The body; None if it is too long."""
        content = b""
        for part in answer.iter_bytes():
            content += part
            if len(content) > self._max_bytes:
                return None
        return content


@contextmanager
def open_site(source: WebSource, max_bytes: int) -> Iterator[Site]:
    """Connect to the site. Raises UserError if it does not answer or forbids every page."""
    import httpx

    headers = {"User-Agent": AGENT}
    with httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS) as client:
        yield Site(client, source, max_bytes)


def _folder_of(start: str) -> str:
    return start.rsplit("/", 1)[0] + "/" if urlsplit(start).path else start + "/"


def _conditions(validators: Validators) -> dict[str, str]:
    """Headers of a conditional request."""
    headers: dict[str, str] = {}
    if validators.etag:
        headers["If-None-Match"] = validators.etag
    if validators.last_modified:
        headers["If-Modified-Since"] = validators.last_modified
    return headers


def _fetch_robots(client: Any, source: WebSource) -> RobotFileParser:
    """The site's rules: none without a robots.txt, an error if it is withheld (RFC 9309, 2.3.1)."""
    import httpx

    parts = urlsplit(source.start)
    try:
        answer = client.get(f"{parts.scheme}://{parts.netloc}/robots.txt", follow_redirects=True)
    except httpx.HTTPError as error:
        raise source_error(source.name, f"{parts.netloc} does not answer: {error}") from error
    if answer.status_code >= 500 or answer.status_code in (401, 403):
        status = f"{parts.netloc}/robots.txt answers {answer.status_code}"
        raise source_error(source.name, f"{status}, which forbids every page")
    robots = RobotFileParser()
    robots.parse(answer.text.splitlines() if answer.status_code == 200 else [])
    return robots
