"""Converts EPUB books, chapter by chapter."""

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from pipelines.corpus.detection import decode
from pipelines.corpus.html import convert_html
from pipelines.corpus.nesting import as_parts
from pipelines.corpus.parts import ConvertedDocument, Empty, Part, Unreadable, assemble


def convert_epub(content: bytes) -> ConvertedDocument:
    """The chapters of a book in reading order."""
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    damage = (
        KeyError,
        StopIteration,
        ElementTree.ParseError,
        DefusedXmlException,
        zipfile.BadZipFile,
    )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
            package_path = next(_elements(container, "rootfile")).attrib["full-path"]
            package = ElementTree.fromstring(archive.read(package_path))
            folder = posixpath.dirname(package_path)
            chapters = list(map(archive.read, _chapter_files(package, folder)))
    except damage as error:
        raise Unreadable(f"a damaged EPUB: {type(error).__name__}: {error}") from error
    return assemble(_chapter_parts(chapters), _find_title(package))


def _elements(tree: Any, name: str) -> Iterator[Any]:
    """All elements of this name, in any namespace."""
    for element in tree.iter():
        if element.tag.endswith(f"}}{name}"):
            yield element


def _find_title(package: Any) -> str | None:
    for element in _elements(package, "title"):
        if element.text:
            return str(element.text)
    return None


def _chapter_files(package: Any, folder: str) -> list[str]:
    """The names of the chapters' files in the archive, in reading order."""
    paths = {}
    for item in _elements(package, "item"):
        if "html" in item.attrib.get("media-type", ""):
            path = posixpath.join(folder, unquote(item.attrib["href"]))
            paths[item.attrib["id"]] = posixpath.normpath(path)
    spine = [item.attrib["idref"] for item in _elements(package, "itemref")]
    return [paths[identifier] for identifier in spine if identifier in paths]


def _chapter_parts(contents: list[bytes]) -> Iterator[Part]:
    for number, content in enumerate(contents, start=1):
        try:
            chapter = convert_html(decode(content))
        # A cover or an empty page. A book of such pages alone has no text and is rejected as a
        # whole.
        except Empty:
            continue
        except Unreadable as error:
            raise Unreadable(f"chapter {number}: {error}") from error
        yield from as_parts(chapter)
