"""Lists the targets of a page's links at the end of the section that has them.

Within the text they would break sentences, and take a passage's room: an address has as many
tokens as a line of prose.
"""

import re
from typing import Any
from urllib.parse import urlsplit

HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
SCHEMES = ("http", "https", "ftp", "mailto", "tel")
FRAMES_OF_HEADINGS = ("a", "summary", "button", "header", "hgroup", "dt")
LINK_TARGETS = "targets of links inside the site"
LIST_HEAD = "Links:"


def list_links(body: Any) -> int:
    """Insert a list of links before each heading that follows some, and at the end.

    Only targets outside the site are listed; of those inside it, which lead nowhere from here, it
    returns the number of characters.
    """
    num_characters = 0
    targets: dict[str, str] = {}
    for element in body.find_all(["a", *HEADINGS]):
        if element.name != "a":
            _insert_before(element, targets)
            targets = {}
            continue
        target = str(element.get("href") or "").strip()
        label = " ".join(element.get_text(" ").split())
        if not label or not target:
            continue
        if _scheme(target) not in SCHEMES:
            num_characters += len(target)
        elif not _is_same_address(label, target):
            targets.setdefault(target, label)
    if targets:
        body.append(_link_list(targets))
    return num_characters


def _insert_before(heading: Any, targets: dict[str, str]) -> None:
    if not targets:
        return
    frame = heading
    while frame.parent is not None and frame.parent.name in FRAMES_OF_HEADINGS:
        frame = frame.parent
    frame.insert_before(_link_list(targets))


def _link_list(targets: dict[str, str]) -> Any:
    """An element that the writer writes as it is."""
    from bs4 import BeautifulSoup

    lines = [f"* {label}: {target}" for target, label in targets.items()]
    element = BeautifulSoup("", "lxml").new_tag("finished")
    element["markdown"] = "\n".join([LIST_HEAD, "", *lines])
    return element


def _scheme(target: str) -> str:
    try:
        return urlsplit(target).scheme.lower()
    except ValueError:  # such as http://[
        return ""


def _is_same_address(label: str, target: str) -> bool:
    """Whether the label is the target itself, as in `example.org` for http://example.org/."""
    return _bare(label) == _bare(target)


def _bare(address: str) -> str:
    bare = re.sub(r"^(https?://|mailto:|tel:)(www\.)?", "", address.strip().strip("`<>"))
    return bare.rstrip("/").lower()
