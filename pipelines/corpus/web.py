"""Pages of a web site as documents: found by sitemap or by links, fetched only if they changed."""

import re
from collections.abc import Iterator
from urllib.parse import urldefrag, urljoin, urlsplit

from pipelines.config.ingest import WebSource
from pipelines.corpus.problems import source_error
from pipelines.corpus.snapshots import Row, Snapshot, make_row, snapshot_path
from pipelines.corpus.web_site import Page, Site, open_site, rejected_page

HTML_TYPES = ("text/html", "application/xhtml+xml")


def read_pages(source: WebSource, max_bytes: int) -> Iterator[Row]:
    """Pages below the folder of the start.

    A page that the site reports as unchanged is taken from the previous snapshot. Raises UserError
    if the site or its sitemap cannot be read; a page that cannot be had is a row with a problem.
    """
    previous = Snapshot(snapshot_path(source.name))
    with open_site(source, max_bytes) as site:
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
    host = urlsplit(source.start).netloc
    path = url.split(host, 1)[1].lstrip("/")
    return f"{source.name}/{path or 'index.html'}"


def _crawl(source: WebSource, site: Site, previous: Snapshot) -> Iterator[Page]:
    """At most `max_pages` pages, and one that says so if there are more."""
    has_sitemap = urlsplit(source.start).path.endswith(".xml")
    queue = _sitemap_urls(source, site) if has_sitemap else [source.start]
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


def _sitemap_urls(source: WebSource, site: Site) -> list[str]:
    """URLs that a sitemap lists, and those of the sitemaps that it names."""
    queue = [source.start]
    visited_urls: set[str] = set()
    urls: list[str] = []
    while queue:
        sitemap = queue.pop(0)
        if sitemap in visited_urls:
            continue
        visited_urls.add(sitemap)
        is_index, locations = _parse_sitemap(source, site.get(sitemap))
        if is_index:
            queue += locations
        else:
            urls += locations
    return urls


def _parse_sitemap(source: WebSource, page: Page) -> tuple[bool, list[str]]:
    """Whether it lists further sitemaps, and the URLs that it lists."""
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    if page.problem:
        problem = f"the sitemap {page.url} cannot be fetched: {page.problem}"
        raise source_error(source.name, problem)
    try:
        root = ElementTree.fromstring(page.content)
    except (ElementTree.ParseError, DefusedXmlException) as error:
        problem = f"the sitemap {page.url} is not valid XML: {error}"
        raise source_error(source.name, problem) from error
    locations: list[str] = []
    for item in root.iter():
        is_location = re.fullmatch(r"(\{.*\})?loc", str(item.tag))
        if is_location and item.text:
            locations.append(item.text.strip())
    return str(root.tag).endswith("sitemapindex"), locations
