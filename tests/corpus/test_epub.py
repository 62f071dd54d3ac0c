import io
import zipfile

import pytest

from pipelines.corpus.detection import EPUB
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import Unreadable

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)
CONTAINER = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>"""
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf"
 xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:title>Kitchen</dc:title></metadata>
<manifest><item id="b" href="b.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="deep/a%20one.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""
SOUP = "<html><body><h1>Soup</h1><p>Boil.</p><h2>Salt</h2><p>Add.</p></body></html>"
BREAD = "<html><body><h1>Bread</h1><p>Bake.</p></body></html>"


def write_book(package: str) -> bytes:
    """A book of two chapters with this package document."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("mimetype", EPUB)
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OPS/book.opf", package)
        archive.writestr("OPS/deep/a one.xhtml", SOUP)
        archive.writestr("OPS/b.xhtml", BREAD)
    return content.getvalue()


def test_an_epub_is_read_in_the_order_of_its_spine_with_its_title_and_headings() -> None:
    document = convert(write_book(PACKAGE), EPUB, BOUNDS)
    assert document.title == "Kitchen"
    assert document.text == "# Soup\n\nBoil.\n\n## Salt\n\nAdd.\n\n# Bread\n\nBake.\n"
    first_lines = [
        document.text[section["start"] : section["end"]].split("\n")[0]
        for section in document.sections
    ]
    assert first_lines == ["# Soup", "## Salt", "# Bread"]


def test_an_epub_whose_xml_would_explode_is_a_rejection() -> None:
    entities = "<!ENTITY l0 'ha'>"
    for number in range(1, 12):
        references = f"&l{number - 1};" * 10
        entities += f"<!ENTITY l{number} '{references}'>"
    billion_laughs = f"<!DOCTYPE a [{entities}]><package>&l11;</package>"
    with pytest.raises(Unreadable, match="a damaged EPUB: EntitiesForbidden"):
        convert(write_book(billion_laughs), EPUB, BOUNDS)
