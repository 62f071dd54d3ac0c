"""A web site that is asked slowly, as its robots.txt allows, and only on its own host."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from pipelines.config.ingest import WebSource
from pipelines.corpus import web_content
from pipelines.corpus.hosts import HostRule, is_below
from pipelines.corpus.problems import source_error
from pipelines.corpus.snapshots import Validators

AGENT = "assistant-pipeline"
TIMEOUT_SECONDS = 30
MAX_REDIRECTS = 5  # as RFC 9309 has it for robots.txt
MAX_ROBOTS_BYTES = 500 << 10  # RFC 9309, 2.5: crawlers must read as much
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

    def __init__(self, client: Any, source: WebSource, rule: HostRule, max_bytes: int):
        self._client = client
        self._rule = rule
        self.max_bytes = max_bytes
        self._folder = _folder_of(source.start)
        self._seconds_apart = 1 / source.requests_per_second
        self._next_request = 0.0  # of the monotonic clock
        self._robots = self._read_robots(source)
        crawl_delay = float(self._robots.crawl_delay(AGENT) or 0)
        self._seconds_apart = max(self._seconds_apart, crawl_delay)

    def allows(self, url: str) -> bool:
        """Whether the URL is below the folder, and robots.txt permits it."""
        return is_below(url, self._folder) and self._robots.can_fetch(AGENT, url)

    def get(self, url: str, validators: Validators = NO_VALIDATORS) -> Page:
        """One page, through redirects that stay below the folder.

        `validators` are those of the page's last fetch. What goes wrong is the page's problem.
        """
        return self._get(url, validators, self._folder)

    def get_sitemap(self, url: str) -> Page:
        """A sitemap, which may be anywhere on the source's host."""
        return self._get(url, NO_VALIDATORS, "")

    def _get(self, url: str, validators: Validators, folder: str) -> Page:
        import httpx

        headers = _conditions(validators)
        target = url
        for _ in range(MAX_REDIRECTS + 1):
            problem = self._rule.problem(target)
            if problem:
                return rejected_page(url, problem)
            self._wait()
            try:
                with self._client.stream("GET", target, headers=headers) as answer:
                    if not answer.has_redirect_location:
                        return self._page(answer, url, validators)
                    target = urljoin(target, answer.headers.get("location", ""))
            except httpx.HTTPError as error:
                return rejected_page(url, f"{type(error).__name__}: {error}")
            if not target.startswith(folder):
                return rejected_page(url, f"redirects out of the site, to {target}")
        return rejected_page(url, f"redirects more than {MAX_REDIRECTS} times")

    def _wait(self) -> None:
        """Keep requests apart."""
        time.sleep(max(0.0, self._next_request - time.monotonic()))
        self._next_request = time.monotonic() + self._seconds_apart

    def _page(self, answer: Any, url: str, validators: Validators) -> Page:
        """The page of an answer that is not a redirect."""
        problem = self._rule.peer_problem(str(answer.url), _peer(answer))
        if problem:
            return rejected_page(url, problem)
        if answer.status_code == 304:
            return Page(url, validators=validators)
        if answer.status_code != 200:
            return rejected_page(url, f"HTTP {answer.status_code}")
        headers = answer.headers
        encoding = headers.get("content-encoding", "").strip().lower()
        try:
            content = web_content.read(answer.iter_raw(), encoding, self.max_bytes)
        except web_content.TooLong:
            limit = f"ingest.limits.max_document_mib allows ({self.max_bytes:,} bytes)"
            return rejected_page(url, f"has more bytes than {limit}")
        except web_content.Damaged as error:
            return rejected_page(url, str(error))
        media_type = headers.get("content-type", "").split(";")[0].strip() or None
        current = Validators(headers.get("etag"), headers.get("last-modified"))
        return Page(url, content, media_type, current)

    def _read_robots(self, source: WebSource) -> RobotFileParser:
        """The site's rules: none without a robots.txt.

        Raises UserError if it is withheld (RFC 9309, 2.3.1), or if it cannot be asked for.
        """
        import httpx

        host = urlsplit(source.start).netloc
        target = f"{urlsplit(source.start).scheme}://{host}/robots.txt"
        for _ in range(MAX_REDIRECTS + 1):
            problem = self._rule.problem(target)
            if problem:
                raise source_error(source.name, problem)
            self._wait()
            try:
                with self._client.stream("GET", target) as answer:
                    if not answer.has_redirect_location:
                        return self._parse_robots(source, answer)
                    target = urljoin(target, answer.headers.get("location", ""))
            except httpx.HTTPError as error:
                raise source_error(source.name, f"{host} does not answer: {error}") from error
        problem = f"{host}/robots.txt redirects more than {MAX_REDIRECTS} times"
        raise source_error(source.name, problem)

    def _parse_robots(self, source: WebSource, answer: Any) -> RobotFileParser:
        host = urlsplit(source.start).netloc
        problem = self._rule.peer_problem(str(answer.url), _peer(answer))
        if problem:
            raise source_error(source.name, problem)
        if answer.status_code >= 500 or answer.status_code in (401, 403):
            status = f"{host}/robots.txt answers {answer.status_code}"
            raise source_error(source.name, f"{status}, which forbids every page")
        content = _read_rules(source, answer) if answer.status_code == 200 else b""
        robots = RobotFileParser()
        robots.parse(content.decode("utf-8", "replace").splitlines())
        return robots


@contextmanager
def open_site(source: WebSource, allowed_hosts: tuple[str, ...], max_bytes: int) -> Iterator[Site]:
    """Connect to the site.

    Raises UserError if it does not answer, forbids every page, or is on a private network.
    """
    import httpx

    headers = {"User-Agent": AGENT, "Accept-Encoding": web_content.ACCEPTED}
    rule = HostRule(source.start, allowed_hosts)
    with httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS) as client:
        yield Site(client, source, rule, max_bytes)


def _read_rules(source: WebSource, answer: Any) -> bytes:
    """The content of robots.txt. Raises UserError if it is longer than any honest one."""
    host = urlsplit(source.start).netloc
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    try:
        return web_content.read(answer.iter_raw(), encoding, MAX_ROBOTS_BYTES)
    except web_content.TooLong as error:
        limit = f"{MAX_ROBOTS_BYTES >> 10} KiB"
        problem = f"{host}/robots.txt has more than {limit}, so what it forbids is not known"
        raise source_error(source.name, problem) from error
    except web_content.Damaged as error:
        raise source_error(source.name, f"{host}/robots.txt {error}") from error


def _peer(answer: Any) -> str | None:
    """The address that sent the answer, if the connection says so."""
    stream = answer.extensions.get("network_stream")
    address = stream and stream.get_extra_info("server_addr")
    return str(address[0]) if address else None


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
