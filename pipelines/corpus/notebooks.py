"""Reads Jupyter notebooks: their text, their code and what it printed."""

import json
import re
from collections.abc import Iterator
from typing import Any

from pipelines.corpus.markdown import drop_embedded_pictures, only_losses, with_sections
from pipelines.corpus.parts import ConvertedDocument, Unreadable

TERMINAL_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PICTURES = "pictures"
RICH_OUTPUTS = "widgets and scripts"


def convert_notebook(text: str) -> ConvertedDocument:
    """The cells of a notebook in order (nbformat 3 and 4); pictures are left out."""
    try:
        notebook = json.loads(text)
        cells = list(_cells(notebook))
    except (json.JSONDecodeError, AttributeError, TypeError, KeyError) as error:
        reason = f"not a notebook: {type(error).__name__}: {error}"
        raise Unreadable(reason) from error
    losses = {PICTURES: 0, RICH_OUTPUTS: 0}
    blocks = [block for cell in cells for block in _blocks(cell, losses)]
    body, num_picture_characters = drop_embedded_pictures("\n\n".join(blocks))
    losses[PICTURES] += num_picture_characters
    title = notebook.get("metadata", {}).get("title")
    document = with_sections(body, title if isinstance(title, str) and title else None)
    return document._replace(left_out=only_losses(losses))


def _cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "cells" in notebook:
        yield from notebook["cells"]
        return
    for worksheet in notebook["worksheets"]:  # before nbformat 4
        yield from worksheet["cells"]


def _blocks(cell: dict[str, Any], losses: dict[str, int]) -> Iterator[str]:
    source = _join(cell.get("source", cell.get("input", ""))).strip("\n")
    kind = cell.get("cell_type")
    if kind == "heading":
        yield "#" * int(cell.get("level", 1)) + " " + " ".join(source.split())
    elif kind == "code":
        yield from _fence(source)
        for output in cell.get("outputs", []):
            yield from _output(output, losses)
    elif source.strip():
        yield source


def _join(value: Any) -> str:
    """Text, which notebooks keep as a string or as a list of lines."""
    return "".join(value) if isinstance(value, list) else str(value)


def _fence(text: str) -> Iterator[str]:
    if text.strip():
        longest = max(map(len, re.findall("`{3,}", text)), default=2)
        fence = "`" * (longest + 1)
        yield f"{fence}\n{text}\n{fence}"


def _output(output: dict[str, Any], losses: dict[str, int]) -> Iterator[str]:
    """What a cell printed: text, or a table of a data frame."""
    if output.get("output_type") in ("error", "pyerr"):
        yield from _fence(f"{output.get('ename')}: {output.get('evalue')}")
        return
    if "text" in output and "data" not in output:
        yield from _fence(TERMINAL_COLORS.sub("", _join(output["text"])).strip("\n"))
        return
    contents = output.get("data", {})
    for media_type, content in contents.items():
        if media_type.startswith("image/"):
            losses[PICTURES] += len(_join(content))
        elif "javascript" in media_type or "widget" in media_type:
            losses[RICH_OUTPUTS] += len(json.dumps(content))
    if "text/markdown" in contents:
        yield _join(contents["text/markdown"])
    elif "<table" in _join(contents.get("text/html", "")):
        yield _table(_join(contents["text/html"]))
    elif "text/plain" in contents:
        yield from _fence(TERMINAL_COLORS.sub("", _join(contents["text/plain"])))


def _table(html: str) -> str:
    from pipelines.corpus.html import parse
    from pipelines.corpus.html_writer import write_markdown

    soup = parse(html)
    for element in soup(["style", "script"]):
        element.decompose()
    return write_markdown(soup)[0].strip()
