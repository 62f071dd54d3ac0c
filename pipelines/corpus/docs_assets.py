"""Makes Great Expectations' pages readable without a network.

Its pages name styles, scripts and pictures on servers of others. Here each name is replaced by that
of a file beside the pages: infra/data_docs/install brought it from npm at set-up.
"""

import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pipelines.errors import UserError

VENDOR = "static/vendor"  # in the folder of the pages
IMAGES = "static/images"
FILES = "files"
ELEMENT = re.compile(r"<(?:script|link|img)\b[^>]*>")
ADDRESS = re.compile(
    r"(?P<name>\b(?:src|href)=)(?P<quote>[\"'])(?P<url>https?://[^\"']+)(?P=quote)"
)
STYLE_ADDRESS = re.compile(r"url\((?P<quote>[\"']?)(?P<url>https?://[^\"')]+)(?P=quote)\)")
# A file of this machine passes no check of its origin.
CHECKS = re.compile(r"\s(?:integrity|crossorigin)=(?:\"[^\"]*\"|'[^']*')")
LOGO = "logo-long.png"


class MissingAsset(UserError):
    """A page names a file that the set-up did not bring."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"a page of Great Expectations names {url}, for which infra/data_docs/assets.json has "
            "no file: add it there, as another version of the library names other files, and run "
            "`make setup`"
        )


def bring_assets(docs: Path, assets: Path) -> None:
    """Copy the assets beside the pages below `docs`, and let the pages name them.

    Raises MissingAsset if there is none for an address.
    """
    shutil.copytree(assets, docs / VENDOR, dirs_exist_ok=True)
    for page in sorted(docs.rglob("*.html")):
        to_top = os.path.relpath(docs, page.parent)
        text = ELEMENT.sub(partial(_localize, docs=docs, to_top=to_top), page.read_text())
        page.write_text(STYLE_ADDRESS.sub(f"url({to_top}/{IMAGES}/{LOGO})", text))


def external_addresses(page: str) -> Iterator[str]:
    """What a browser would fetch from elsewhere to show a page."""
    for element in ELEMENT.findall(page):
        for match in ADDRESS.finditer(element):
            yield match["url"]
    for match in STYLE_ADDRESS.finditer(page):
        yield match["url"]


def _localize(element: re.Match[str], docs: Path, to_top: str) -> str:
    if not ADDRESS.search(element[0]):
        return element[0]

    def replace(match: re.Match[str]) -> str:
        path = f"{to_top}/{_local_path(match['url'], docs)}"
        return f"{match['name']}{match['quote']}{path}{match['quote']}"

    return CHECKS.sub("", ADDRESS.sub(replace, element[0]))


def _local_path(url: str, docs: Path) -> str:
    """Where the file is that an address names, from the folder of the pages."""
    name = PurePosixPath(urlsplit(url).path).name
    candidates = (
        f"{VENDOR}/{FILES}/{name}",
        f"{VENDOR}/{FILES}/{name}.js",
        f"{IMAGES}/{name}",
    )
    for candidate in candidates:
        if (docs / candidate).is_file():
            return candidate
    raise MissingAsset(url)
