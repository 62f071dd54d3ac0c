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
        if is_listed(label, target):
            targets.setdefault(target, label)
        elif label and _scheme(target) not in SCHEMES:
            num_characters += len(target)
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

    element = BeautifulSoup("", "lxml").new_tag("finished")
    element["markdown"] = format_links(targets)
    return element


def format_links(targets: dict[str, str]) -> str:
    """The list of links, given by the label of each target; empty without any."""
    lines = [f"* {label}: {target}" for target, label in targets.items()]
    return "\n".join([LIST_HEAD, "", *lines]) if lines else ""


def is_listed(label: str, target: str) -> bool:
    """Whether a link leads out of its site or file, and its label does not say where."""
    is_outside = _scheme(target) in SCHEMES
    return bool(label) and is_outside and not _is_same_address(label, target)


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
