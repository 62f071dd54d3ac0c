"""Pages of a web site as documents: found by sitemap or by links, fetched only if they changed."""

import io
import re
from collections.abc import Iterator
from urllib.parse import urldefrag, urljoin, urlsplit

from pipelines.config.ingest import WebSource
from pipelines.corpus.problems import source_error
from pipelines.corpus.snapshots import FetchBounds, Row, Snapshot, make_row, snapshot_path
from pipelines.corpus.web_content import Damaged, TooLong, unpack_file
from pipelines.corpus.web_site import Page, Site, open_site, rejected_page

HTML_TYPES = ("text/html", "application/xhtml+xml")
SITEMAP_SUFFIXES = (".xml", ".xml.gz")
MAX_SITEMAPS = 1000  # each lists at most 50,000 pages (sitemaps.org)
MAX_URLS = 1_000_000  # about 100 MB


def read_pages(source: WebSource, bounds: FetchBounds) -> Iterator[Row]:
    """Pages below the folder of the start.

    A page that the site reports as unchanged is taken from the previous snapshot. Raises UserError
    if the site or its sitemap cannot be read; a page that cannot be had is a row with a problem.
    """
    max_bytes = bounds.max_bytes
    previous = Snapshot(snapshot_path(source.name))
    with open_site(source, bounds.allowed_hosts, max_bytes) as site:
        for page in _crawl(source, site, previous):
            uri = _uri(source, page.url)
            if page.problem:
                yield make_row(uri, b"", max_bytes, problem=page.problem)
            elif page.content is None:
                yield previous.row(uri)
            else:
                yield _row(uri, page, page.content, max_bytes)


def _row(uri: str, page: Page, content: bytes, max_bytes: int) -> Row:
    return make_row(
        uri,
        content,
        max_bytes,
        hint=page.media_type,
        etag=page.validators.etag,
        modified=page.validators.last_modified,
    )


def _uri(source: WebSource, url: str) -> str:
    """The page's path below the source's name; of another host's page also the host."""
    host = urlsplit(source.start).netloc
    address = url.partition("://")[2]
    path = address.removeprefix(host).lstrip("/")
    return f"{source.name}/{path or 'index.html'}"


def _crawl(source: WebSource, site: Site, previous: Snapshot) -> Iterator[Page]:
    """At most `max_pages` pages, and one that says so if there are more."""
    if urlsplit(source.start).path.endswith(SITEMAP_SUFFIXES):
        has_sitemap = True
        queue, rejected_sitemaps = _read_sitemaps(source, site)
        yield from rejected_sitemaps
    else:
        has_sitemap = False
        queue = [source.start]
    visited_urls: set[str] = set()
    while queue and len(visited_urls) < source.max_pages:
        url = urldefrag(queue.pop(0)).url
        if url in visited_urls or not site.allows(url):
            continue
        visited_urls.add(url)
        page = site.get(url, previous.validators(_uri(source, url)))
        if not has_sitemap and page.problem is None:
            queue += _links_of(page, previous, _uri(source, url))
        yield page
    remaining = _remaining_urls(queue, visited_urls, site)
    if remaining:
        limit = f"the source's max_pages ({source.max_pages}) was reached"
        problem = f"not fetched, like {len(remaining) - 1} other known pages: {limit}"
        yield rejected_page(min(remaining), problem)


def _remaining_urls(queue: list[str], visited_urls: set[str], site: Site) -> set[str]:
    urls = {urldefrag(url).url for url in queue}
    return {url for url in urls - visited_urls if site.allows(url)}


def _links_of(page: Page, previous: Snapshot, uri: str) -> list[str]:
    """Links of a page; of an unchanged one, those of its previous content."""
    if page.content is None:
        return find_links(page.url, previous.row(uri)["content"])
    if page.media_type in HTML_TYPES:
        return find_links(page.url, page.content)
    return []


def find_links(url: str, content: bytes) -> list[str]:
    """URLs that a page's links lead to, in their order, each once."""
    from bs4 import BeautifulSoup

    urls: dict[str, None] = {}
    for link in BeautifulSoup(content, "lxml").find_all("a", href=True):
        target = urljoin(url, str(link["href"]))
        urls[urldefrag(target).url] = None
    return list(urls)


def _read_sitemaps(source: WebSource, site: Site) -> tuple[list[str], list[Page]]:
    """URLs that the sitemap and those that it names list, and those that were not read.

    Raises UserError if the first cannot be read, or if none of the URLs belongs to the source.
    """
    queue = [source.start]
    visited_urls: set[str] = set()
    urls: list[str] = []
    rejected_pages: list[Page] = []
    while queue and len(visited_urls) < MAX_SITEMAPS and len(urls) < MAX_URLS:
        sitemap = queue.pop(0)
        if sitemap in visited_urls:
            continue
        visited_urls.add(sitemap)
        page = site.get_sitemap(sitemap)
        if page.problem and sitemap != source.start:
            problem = f"a sitemap that is not read: {page.problem}"
            rejected_pages.append(rejected_page(sitemap, problem))
            continue
        is_index, locations = _parse_sitemap(source, site, page)
        if is_index:
            queue += locations
        else:
            urls += locations
    if queue:
        limit = f"{MAX_SITEMAPS:,} sitemaps and {MAX_URLS:,} pages are the most that is read"
        problem = f"a sitemap that is not read, like {len(queue) - 1} others: {limit}"
        rejected_pages.append(rejected_page(queue[0], problem))
    if urls and not any(map(site.allows, urls)):
        problem = (
            f"none of the {len(urls):,} addresses that {source.start} lists may be read, such as "
            f"{urls[0]}: they must be below the sitemap's folder, on its host, and allowed by "
            "robots.txt"
        )
        raise source_error(source.name, problem)
    return urls, rejected_pages


def _parse_sitemap(source: WebSource, site: Site, page: Page) -> tuple[bool, list[str]]:
    """Whether it lists further sitemaps, and the URLs that it lists."""
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    if page.content is None:
        problem = f"the sitemap {page.url} cannot be fetched: {page.problem}"
        raise source_error(source.name, problem)
    locations: list[str] = []
    is_index = False
    try:
        content = unpack_file(page.content, site.max_bytes)
        for _, element in ElementTree.iterparse(io.BytesIO(content)):
            if re.fullmatch(r"(\{.*\})?loc", element.tag) and element.text:
                locations.append(element.text.strip())
            is_index = is_index or element.tag.endswith("sitemapindex")
            element.clear()
    except (ElementTree.ParseError, DefusedXmlException) as error:
        problem = f"the sitemap {page.url} is not valid XML: {error}"
        raise source_error(source.name, problem) from error
    except TooLong as error:
        limit = f"ingest.limits.max_document_mib allows ({site.max_bytes:,} bytes)"
        problem = f"the sitemap {page.url} unpacks to more than {limit}"
        raise source_error(source.name, problem) from error
    except Damaged as error:
        raise source_error(source.name, f"the sitemap {page.url} {error}") from error
    return is_index, locations
