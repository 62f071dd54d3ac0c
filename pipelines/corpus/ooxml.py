"""Opens docx, pptx and xlsx packages: their parts and the relations between these.

Names are compared without namespaces, since the strict and the transitional variant of ISO/IEC
29500 differ in nothing else that matters to a reader of text.
"""

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipelines.corpus.parts import Unreadable


def check_archive(content: bytes, max_bytes: int) -> None:
    """Raise Unreadable if a zip archive has a password or would unpack to more than `max_bytes`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    num_bytes = sum(entry.file_size for entry in entries)
    if num_bytes > max_bytes:
        raise Unreadable(
            f"unpacks to {num_bytes:,} bytes, more than ingest.limits.max_unpacked_mib allows "
            f"({max_bytes:,} bytes)"
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise Unreadable("is encrypted with a password: save it without one")


class Relation(NamedTuple):
    """A part or address that a part refers to. `kind` is the last word of the relation's type."""

    kind: str
    target: str
    is_external: bool


class Package:
    """An opened package. Parts are found whatever case and slashes their names are written with."""

    def __init__(self, content: bytes):
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        self._names: dict[str, str] = {}
        for name in self._archive.namelist():
            self._names.setdefault(_normalize(name), name)

    def has(self, path: str) -> bool:
        return _normalize(path) in self._names

    def read(self, path: str) -> bytes:
        """The bytes of a part. Raises Unreadable if it is missing."""
        name = self._names.get(_normalize(path))
        if name is None:
            raise Unreadable(f"a damaged file: its part {path} is missing")
        return self._archive.read(name)

    def open(self, path: str) -> Any:
        """A part as a binary stream. Raises KeyError if it is missing."""
        return self._archive.open(self._names[_normalize(path)])

    def parse(self, path: str) -> Any:
        """The root element of an XML part. Raises Unreadable if it is missing."""
        return parse_xml(self.read(path))

    def relations(self, path: str) -> dict[str, Relation]:
        """The relations of a part by their ids; of the package itself if `path` is empty."""
        folder = posixpath.dirname(path)
        relations_path = posixpath.join(folder, "_rels", f"{posixpath.basename(path)}.rels")
        if not self.has(relations_path):
            return {}
        relations = {}
        for element in self.parse(relations_path):
            is_external = element.get("TargetMode") == "External"
            target = element.get("Target") or ""
            if not is_external:
                target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            kind = (element.get("Type") or "").rpartition("/")[2]
            relations[element.get("Id") or ""] = Relation(kind, target, is_external)
        return relations

    def parts_of_kind(self, path: str, kind: str) -> list[str]:
        """The paths of the parts to which a part has relations of this kind, if they are there."""
        paths = []
        for relation in self.relations(path).values():
            if relation.kind == kind and not relation.is_external and self.has(relation.target):
                paths.append(relation.target)
        return paths

    def main_path(self) -> str:
        """The path of the document, presentation or workbook. Raises Unreadable if it has none."""
        paths = self.parts_of_kind("", "officeDocument")
        if not paths:
            raise Unreadable("a damaged file: the package names no main document")
        return paths[0]

    def title(self) -> str | None:
        """The title among the document's properties; None if it is missing or blank."""
        for path in self.parts_of_kind("", "core-properties"):
            for element in self.parse(path):
                if name_of(element) == "title" and (element.text or "").strip():
                    return str(element.text).strip()
        return None


def _normalize(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").lower()


def parse_xml(content: bytes) -> Any:
    """The root element; entities stay unresolved and nothing outside is loaded."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    return etree.fromstring(content, parser)


def name_of(element: Any) -> str:
    """The name of an element without its namespace; empty for an entity."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str | None:
    """The attribute of this name in any namespace; None if the element, or it, is missing."""
    if element is None:
        return None
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return None


def child(element: Any, *names: str) -> Any:
    """The first child by the first name, its first child by the next one, and so on; or None."""
    for name in names:
        if element is None:
            return None
        element = next((part for part in element if name_of(part) == name), None)
    return element


def descendants(element: Any, *names: str) -> Iterator[Any]:
    """All elements of these names below an element, in any namespace."""
    yield from element.iter(*[f"{{*}}{name}" for name in names])


def is_on(element: Any, *names: str) -> bool:
    """Whether a property such as `<w:strike/>` is there and not switched off."""
    for name in names:
        property_element = child(element, name)
        value = attribute(property_element, "val")
        if property_element is not None and value not in ("0", "false", "off", "none"):
            return True
    return False


def count_characters(element: Any) -> int:
    """Characters of the texts below an element, deleted ones included."""
    texts = (text.text or "" for text in descendants(element, "t", "delText"))
    return sum(map(len, texts))


def read_drawing(package: Package, path: str, element: Any) -> Iterator[str]:
    """The texts of a chart or diagram that an element of the part at `path` refers to, by line."""
    relations = package.relations(path)
    for reference in descendants(element, "chart", "relIds"):
        key = attribute(reference, "dm") or attribute(reference, "id")
        relation = relations.get(key or "")
        if relation is None or not package.has(relation.target):
            continue
        root = package.parse(relation.target)
        yield from _diagram_lines(root) if name_of(reference) == "relIds" else _chart_lines(root)


def _diagram_lines(root: Any) -> Iterator[str]:
    for paragraph in descendants(root, "p"):
        text = "".join(run.text or "" for run in descendants(paragraph, "t"))
        if text.strip():
            yield text


def read_chart_titles(root: Any) -> Iterator[str]:
    """What a chart and its axes are called."""
    for title in descendants(root, "title"):
        text = "".join(run.text or "" for run in descendants(title, "t"))
        if text.strip():
            yield text


def _chart_lines(root: Any) -> Iterator[str]:
    """Titles, then a line for each series with its name, categories and values."""
    yield from read_chart_titles(root)
    for series in descendants(root, "ser"):
        name = " ".join(_points(child(series, "tx")).values())
        categories = _points(child(series, "cat") if child(series, "cat") is not None else None)
        values = _points(child(series, "val"))
        pairs = []
        for number, value in values.items():
            label = categories.get(number, "")
            pairs.append(f"{label}: {value}" if label else value)
        line = f"{name}: {'; '.join(pairs)}" if name else "; ".join(pairs)
        if line.strip():
            yield line


def _points(element: Any) -> dict[str, str]:
    """The cached values of a chart's series by their index."""
    if element is None:
        return {}
    points = {}
    for point in descendants(element, "pt"):
        value = child(point, "v")
        if value is not None and value.text:
            points[attribute(point, "idx") or ""] = value.text
    return points
