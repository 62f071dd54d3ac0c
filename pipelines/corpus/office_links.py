"""Finds the targets of links in office files, which are listed like those of HTML pages."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.corpus.html_links import is_listed
from pipelines.corpus.ooxml import Relation, attribute, descendants

LINKS = ("hyperlink", "hlinkClick")

Relations = Mapping[str, Relation]


def find_links(element: Any, relations: Relations) -> Iterator[tuple[str, str]]:
    """(target, label) of the links below an element that lead out of the file."""
    for link in descendants(element, *LINKS):
        target = find_target(link, relations)
        # A link of a slide is a property of its run: rPr, then r.
        frame = link if link.tag.endswith("}hyperlink") else link.getparent().getparent()
        words = "".join(text.text or "" for text in descendants(frame, "t"))
        label = " ".join(words.split())
        if is_listed(label, target):
            yield target, label


def find_target(link: Any, relations: Relations) -> str:
    """Where a link leads; empty if it stays in the file."""
    relation = relations.get(attribute(link, "id") or "")
    return relation.target if relation is not None and relation.is_external else ""
