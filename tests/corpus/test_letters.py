import io
import zipfile
from email.message import EmailMessage

import pytest

from pipelines.corpus.detection import CSV, EPUB, MAIL
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import Unreadable

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)
CONTAINER = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>Kitchen</dc:title></metadata>
<manifest><item id="b" href="b.xhtml" media-type="application/xhtml+xml"/><item id="a" href="deep/a%20one.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""


def book(package: str = PACKAGE) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in {"mimetype": EPUB, "META-INF/container.xml": CONTAINER, "OPS/book.opf": package}.items():
            archive.writestr(name, text)
        archive.writestr("OPS/deep/a one.xhtml", "<html><body><h1>Soup</h1><p>Boil.</p><h2>Salt</h2><p>Add.</p></body></html>")
        archive.writestr("OPS/b.xhtml", "<html><body><h1>Bread</h1><p>Bake.</p></body></html>")
    return out.getvalue()


def test_a_mail_keeps_subject_people_and_text_and_names_its_attachments() -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"], message["Date"] = "Grüße", "ada@example.org", "ben@example.org", "Sat, 21 Nov 2026 12:00:00 +0000"
    message.set_content("Boil the water.\n")
    message.add_alternative("<p>not this</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="menu.pdf")
    found = convert(message.as_bytes(), MAIL, BOUNDS)
    assert found.text == "# Grüße\n\nFrom: ada@example.org\nTo: ben@example.org\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\nBoil the water.\n\nAttachment, not read: menu.pdf\n"


def test_a_mail_in_html_alone_is_read_as_its_page() -> None:
    message = EmailMessage()
    message["Subject"], message["From"] = "Soup", "ada@example.org"
    message.set_content("<html><body><p>Boil <b>it</b>.</p></body></html>", subtype="html")
    assert "Boil **it**." in convert(message.as_bytes(), MAIL, BOUNDS).text


def test_an_epub_is_read_in_the_order_of_its_spine_with_its_title_and_headings() -> None:
    found = convert(book(), EPUB, BOUNDS)
    assert (found.title, found.text) == ("Kitchen", "# Soup\n\nBoil.\n\n## Salt\n\nAdd.\n\n# Bread\n\nBake.\n")
    assert [found.text[section["start"] : section["end"]].split("\n")[0] for section in found.sections] == ["# Soup", "## Salt", "# Bread"]


def test_an_epub_whose_xml_would_explode_is_a_rejection() -> None:
    laughs = "<!DOCTYPE a [<!ENTITY l0 'ha'>" + "".join(f"<!ENTITY l{number} '{f'&l{number - 1};' * 10}'>" for number in range(1, 12)) + "]><package>&l11;</package>"
    with pytest.raises(Unreadable, match="a damaged EPUB: EntitiesForbidden"):
        convert(book(laughs), EPUB, BOUNDS)


def test_csv_rows_name_their_columns_whatever_the_delimiter() -> None:
    assert convert("Name;Größe\nTopf;2\n\nPfanne;3\n".encode("utf-8-sig"), CSV, BOUNDS).text == "- Name: Topf; Größe: 2\n- Name: Pfanne; Größe: 3\n"
    assert convert(b'a,b\n"x, y",2,3\n', CSV, BOUNDS).text == "- a: x, y; b: 2; 3\n"
