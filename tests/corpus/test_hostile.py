"""Files made to hurt: each is read, or rejected with its reason, within the limits of time and memory, and the good one beside them is read."""

import gzip
import io
import re
import struct
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from pathlib import Path

import pytest
from docx import Document
from openpyxl import Workbook
from pptx import Presentation

from pipelines import workcache
from pipelines.config.ingest import IngestConfig, Limits, PackagesSource, Quality
from pipelines.corpus import intake
from pipelines.corpus.sources import Found

HOSTILE = Path(__file__).parents[2].parent / "shared/data/hostile_inputs"
MEMORY_MIB = 1536
CONFIG = IngestConfig(
    max_rejected_share=1,
    num_workers=2,
    limits=Limits(seconds=30, memory_mib=MEMORY_MIB, max_document_mib=8, max_unpacked_mib=32, max_pages=500),
    quality=Quality(min_words=1, min_letter_share=0.0, max_repeated_line_share=1, max_replacement_share=1, max_mojibake_share=1),
    near_duplicate_similarity=1,
    sources=[PackagesSource(kind="python_packages", name="packages", packages=["pydantic"])],
)
GOOD = b"# Potatoes\n\nPeel the potatoes, cut them into pieces of the same size and boil them until a fork goes in without force.\n"
LAUGHS = '<!DOCTYPE a [<!ENTITY l0 "ha">' + "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 12)) + "]>"
SECRET = '<!DOCTYPE a [<!ENTITY l11 SYSTEM "file:///etc/passwd">]>'
CONTAINER = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="book.opf"/></rootfiles></container>'


def office(kind: str) -> bytes:
    """A docx, pptx or xlsx that says "potatoes"."""
    out = io.BytesIO()
    if kind == "docx":
        document = Document()
        document.add_paragraph("potatoes")
        document.save(out)
    elif kind == "pptx":
        slides = Presentation()
        slides.slides.add_slide(slides.slide_layouts[5]).shapes.title.text = "potatoes"
        slides.save(out)
    else:
        book = Workbook()
        book.active.append(["potatoes", "minutes"])
        book.active.append(["large", 20])
        book.save(out)
    return out.getvalue()


def epub(chapter: str, href: str = "one.xhtml") -> bytes:
    package = f'<package xmlns="x"><manifest><item id="a" href="{href}" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>'
    return archive({"mimetype": b"application/epub+zip", "META-INF/container.xml": CONTAINER.encode(), "book.opf": package.encode(), "one.xhtml": chapter.encode()})


def archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, body in members.items():
            made.writestr(name, body)
    return out.getvalue()


def altered(content: bytes, member: str, change: Callable[[bytes], bytes]) -> bytes:
    """The archive with one member changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        return archive({name: change(source.read(name)) if name == member else source.read(name) for name in source.namelist()})


def declared(entities: str, word: bytes) -> Callable[[bytes], bytes]:
    """Puts a document type with entities before the root element, and the last of them in the place of `word`."""
    return lambda body: re.sub(rb"(<\?xml[^>]*>)?\s*", lambda found: found[0] + entities.encode(), body, count=1).replace(word, b"&l11;", 1)


def lying(content: bytes, member: str, size: int) -> bytes:
    """The archive whose member says in both of its headers that it unpacks to `size` bytes."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        offset, true = source.getinfo(member).header_offset, source.getinfo(member).file_size
    changed = bytearray(content)
    struct.pack_into("<I", changed, offset + 22, size)
    central = content.index(b"PK\x01\x02", 0)
    while content[central + 46 : central + 46 + len(member)] != member.encode():
        central = content.index(b"PK\x01\x02", central + 4)
    assert struct.unpack_from("<I", content, central + 24)[0] == true
    struct.pack_into("<I", changed, central + 24, size)
    return bytes(changed)


def pdf(num_pages: int, stream: bytes = b"BT /F1 12 Tf 72 700 Td (potatoes) Tj ET", kids: str | None = None) -> bytes:
    """A PDF with so many pages that share one stream; `kids` names other children of its page tree."""
    packed = zlib.compress(stream, 9)
    pages = " ".join(f"{5 + number} 0 R" for number in range(num_pages)) if kids is None else kids
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {num_pages}/Kids[{pages}]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        f"<</Length {len(packed)}/Filter/FlateDecode>>stream\n".encode() + packed + b"\nendstream",
        *[b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 3 0 R>>>>>>"] * num_pages,
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj".encode() + body + b"\nendobj\n"
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode() + b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    return bytes(out) + f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF".encode()


def forwarded(times: int) -> bytes:
    """An e-mail in an e-mail in an e-mail."""
    head = b"From: a@example.org\nTo: b@example.org\nSubject: potatoes\nMIME-Version: 1.0\n"
    return (head + b"Content-Type: message/rfc822\n\n") * times + head + b"\npotatoes\n"


def multiparts(depth: int) -> bytes:
    opening = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (number, number) for number in range(depth))
    return b"From: a@example.org\nTo: b@example.org\nSubject: potatoes\nMIME-Version: 1.0\n" + opening + b"Content-Type: text/plain\n\npotatoes\n"


def sheet_xml(rows: bytes) -> Callable[[bytes], bytes]:
    return lambda body: re.sub(rb"<sheetData>.*</sheetData>", b"<sheetData>" + rows + b"</sheetData>", re.sub(rb"<dimension[^>]*>", b"", body))


def outcome(contents: dict[str, bytes], tmp_path: Path, config: IngestConfig = CONFIG) -> tuple[dict[str, str], dict[str, str]]:
    """(text by name, reason by name)."""
    with workcache.opened(tmp_path / "work.sqlite", intake.kind(config)) as cache:
        taken = intake.take_in((("s", Found(name, content)) for name, content in contents.items()), config, cache)
        texts = {row["uri"].removeprefix("s/"): row["text"] for row in intake.documents(taken, cache)}
    same = {alias.removeprefix("s/"): texts[kept.removeprefix("s/")] for kept, aliases in taken.aliases.items() for alias in aliases}
    return texts | same, {row["uri"].removeprefix("s/"): row["reason"] for row in taken.rejections}


def check(cases: dict[str, tuple[bytes, str]], tmp_path: Path) -> dict[str, str]:
    """The texts that were read. Asserts that each file's text (after "read: ") or reason matches, the good file beside them is read, and no reader took more memory than it may."""
    with watched() as peaks:
        texts, reasons = outcome({**{name: content for name, (content, _) in cases.items()}, "good.md": GOOD}, tmp_path)
    told = {name: f"read: {texts[name]}" if name in texts else reasons[name] for name in cases}
    wrong = {name: told[name][:300] for name, (_, expected) in cases.items() if not re.match(expected, told[name])}
    assert not wrong
    assert texts["good.md"] == GOOD.decode()
    assert sys.platform != "linux" or 10 < max(peaks) < MEMORY_MIB  # elsewhere there is no limit that is kept, nor /proc
    return texts


@contextmanager
def watched() -> Iterator[list[int]]:
    """Peak resident memory of ingest's readers in MiB, looked at every 20 ms. A reader is a child of the server that forks them."""
    peaks, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            for status in Path("/proc").glob("[0-9]*/status"):
                with suppress(OSError):  # it has ended meanwhile
                    told = status.read_text()
                    peak = re.search(r"VmHWM:\s+(\d+)", told)
                    if peak and f"PPid:\t{forkserver._forkserver._forkserver_pid}\n" in told:  # type: ignore[attr-defined]
                        peaks.append(int(peak[1]) >> 10)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        yield peaks
    finally:
        ended.set()
        watching.join()


def test_what_is_nested_without_end_is_read_or_rejected(tmp_path: Path) -> None:
    cases = {
        "quotes.md": (b">" * 20_000 + b" potatoes\n", r"read: "),
        "lists.md": (b"".join(b" " * 2 * level + b"- potatoes\n" for level in range(1500)), r"read: - potatoes\n  - potatoes"),
        "brackets.md": (b"[" * 50_000 + b"potatoes" + b"]" * 50_000, r"read: \[\[.*potatoes"),
        "emphasis.md": (b"*a **a " * 30_000, r"read: \*a"),
        "divs.html": (b"<html><body>" + b"<div>" * 100_000 + b"potatoes", r"its parts are nested too deeply"),
        "tables.html": (b"<html><body>" + b"<table><tr><td>" * 3000 + b"potatoes", r"its parts are nested too deeply"),
        "quotes.rst": (b"".join(b" " * level + b"potatoes\n\n" for level in range(1200)), r"its parts are nested too deeply"),
        "forwarded.eml": (forwarded(3000), r"its parts are nested too deeply"),
        "multiparts.eml": (multiparts(3000), r"its parts are nested too deeply"),
        "tables.docx": (altered(office("docx"), "word/document.xml", lambda body: body.replace(b"<w:body>", b"<w:body>" + b"<w:tbl><w:tr><w:tc>" * 2000 + b"<w:p/>" + b"</w:tc></w:tr></w:tbl>" * 2000)), r"a damaged file: XMLSyntaxError: Excessive depth"),
        "groups.pptx": (altered(office("pptx"), "ppt/slides/slide1.xml", lambda body: body.replace(b"</p:spTree>", b"<p:grpSp>" * 2000 + b"</p:grpSp>" * 2000 + b"</p:spTree>")), r"a damaged file: XMLSyntaxError: Excessive depth"),
        "chapter.epub": (epub("<html><body>" + "<div>" * 50_000 + "potatoes"), r"chapter 1: its parts are nested too deeply"),
    }  # fmt: skip
    check(cases, tmp_path)


@pytest.mark.parametrize(("entities", "office_file"), [(LAUGHS, "a damaged file: XMLSyntaxError: Maximum entity amplification"), (SECRET, "has no text")])
def test_xml_that_repeats_itself_or_names_files_of_this_machine_gives_neither(entities: str, office_file: str, tmp_path: Path) -> None:
    page = f"<?xml version='1.0'?>{entities}<html><body><p>potatoes &l11;</p></body></html>"
    cases = {
        "a.docx": (altered(office("docx"), "word/document.xml", declared(entities, b"potatoes")), office_file),
        "a.pptx": (altered(office("pptx"), "ppt/slides/slide1.xml", declared(entities, b"potatoes")), office_file),
        "a.xlsx": (altered(office("xlsx"), "xl/worksheets/sheet1.xml", declared(entities, b"potatoes")), "a damaged file: ValueError"),
        "book.epub": (altered(epub("<html/>"), "book.opf", declared(entities, b"nothing")), "a damaged EPUB: EntitiesForbidden"),
        "chapter.epub": (epub(page), r"read: .*\n+potatoes &l11;\n"),
        "page.html": (page.encode(), r"read: .*\n+potatoes &l11;\n"),
        "include.rst": (b"potatoes\n\n.. include:: /etc/passwd\n\n.. raw:: html\n   :file: /etc/passwd\n\n.. csv-table::\n   :file: /etc/passwd\n", "read: potatoes\n$"),
        "outside.epub": (epub("<html/>", href="../../../../../../etc/passwd"), "a damaged EPUB: KeyError: .*etc/passwd' in the archive"),
    }
    texts = check(cases, tmp_path)
    assert not [name for name, text in texts.items() if "root:" in text or text.count("ha") > 5]


def test_what_unpacks_to_much_more_than_it_holds_is_rejected_or_fits_the_memory(tmp_path: Path) -> None:
    much = bytes(200_000_000)
    cases = {
        "bomb.docx": (altered(office("docx"), "word/document.xml", lambda body: body.replace(b"</w:body>", b"<w:p/>" * 10_000_000 + b"</w:body>")), r"unpacks to 60,"),
        "bomb.xlsx": (altered(office("xlsx"), "xl/worksheets/sheet1.xml", lambda body: body + much), r"unpacks to 200,"),
        "bomb.epub": (epub("<html><body>" + "potatoes " * 20_000_000), r"unpacks to 180,"),
        "lying.xlsx": (lying(altered(office("xlsx"), "xl/worksheets/sheet1.xml", lambda body: body + much), "xl/worksheets/sheet1.xml", 400), r"a damaged file: BadZipFile: Bad CRC-32"),
        "type.epub": (archive({"mimetype": b"application/epub+zip" + much}), r"a zip archive that is no docx"),
        "columns.xlsx": (altered(office("xlsx"), "xl/worksheets/sheet1.xml", sheet_xml(b'<row r="1"><c r="XFD1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>')), r"read: # Sheet\n\n- 1: 2\n"),
        "stream.pdf": (pdf(1, b"BT /F1 12 Tf 72 700 Td (potatoes) Tj ET" + b" " * 400_000_000), "(read: potatoes|took more than 30 s|needs more memory)"),
        "packed.csv": (gzip.compress(much), r"is application/x-gzip, for which there is no reader"),
    }  # fmt: skip
    check(cases, tmp_path)


def test_a_pdf_whose_page_takes_for_ever_is_given_up_and_the_next_file_read(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"num_workers": 1, "limits": CONFIG.limits.model_copy(update={"seconds": 8})})
    endless = {"operators.pdf": pdf(1, b"BT /F1 12 Tf 72 700 Td (potatoes) Tj ET " * 2_000_000)}
    texts, reasons = outcome({**endless, "good.md": GOOD}, tmp_path, config)
    assert reasons == dict.fromkeys(endless, "took more than 8 s")
    assert texts == {"good.md": GOOD.decode()}


def test_a_page_tree_that_is_endless_is_read_once_and_one_with_too_many_pages_rejected(tmp_path: Path) -> None:
    cases = {
        "many.pdf": (pdf(1200), "has 1200 pages, more than ingest.limits.max_pages"),
        "circle.pdf": (pdf(2, kids="2 0 R 5 0 R 6 0 R 2 0 R"), r"read: potatoes\n\npotatoes\n$"),
        "few.pdf": (pdf(3), r"read: potatoes\n\npotatoes\n\npotatoes\n$"),
    }
    check(cases, tmp_path)


def test_a_name_that_says_another_format_than_the_content_is_not_believed(tmp_path: Path) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
    cases = {
        "pdf.md": (pdf(2), r"read: potatoes\n\npotatoes\n"),
        "docx.pdf": (office("docx"), r"read: potatoes\n"),
        "xlsx.docx": (office("xlsx"), r"read: # Sheet\n\n- potatoes: large; minutes: 20\n"),
        "pptx.txt": (office("pptx"), r"read: potatoes\n"),
        "epub.zip": (epub("<html><body><h1>potatoes</h1><p>Boil them until they are soft.</p></body></html>"), r"read: # potatoes\n\nBoil"),
        "html.txt": (b"<!doctype html><html><body><main><h1>potatoes</h1><p>Boil them until they are soft.</p></main></body></html>", r"read: # potatoes\n\nBoil"),
        "text.pdf": (b"potatoes are boiled until they are soft", r"read: potatoes are"),
        "utf16.html": ("potatoes are boiled until they are soft".encode("utf-16"), r"read: potatoes are"),
        "picture.md": (picture, r"is image/png, for which there is no reader"),
        "packed.csv": (gzip.compress(b"a,b\n1,2\n" * 100), r"is application/x-gzip, for which there is no reader"),
        "zip.epub": (archive({"a.txt": b"potatoes"}), r"a zip archive that is no docx"),
    }
    check(cases, tmp_path)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_file_that_is_cut_short_is_rejected_and_a_letter_read_as_far_as_it_goes(share: float, tmp_path: Path) -> None:
    archives = {"a.docx": office("docx"), "a.pptx": office("pptx"), "a.xlsx": office("xlsx"), "a.epub": epub("<html><body><p>potatoes</p></body></html>")}
    whole = {name: (content, "a damaged zip archive") for name, content in archives.items()}
    whole |= {"a.pdf": (pdf(3), "a damaged PDF: "), "a.eml": (forwarded(1), "has no text|read: # potatoes")}
    check({name: (content[: int(len(content) * share)], expected) for name, (content, expected) in whole.items()}, tmp_path)


def test_long_lines_and_wide_tables_stay_within_the_limits(tmp_path: Path) -> None:
    cases = {
        "line.md": (b"potatoes" * 800_000, r"read: potatoespotatoes"),
        "spaces.md": (b" \t" * 3_000_000 + b"potatoes", r"read: potatoes\n"),
        "ticks.md": (b"`" * 1_000_000 + b"potatoes", r"read: .*potatoes"),
        "rows.csv": (b"a,b\n" + b"potatoes,2\n" * 50_000, "(read: |took more than 30 s|needs more memory)"),
        "wide.csv": (b",".join(b"potato%d" % number for number in range(50_000)) + b"\n" + b"1," * 49_999 + b"1\n", "(read: |took more than 30 s|needs more memory)"),
        "field.csv": (b"a,b\n" + b'"' + b"potatoes " * 500_000 + b'",2\n', r"not CSV: field larger"),
        "quote.csv": (b'a,b\n"potatoes,' + b"1,2\n" * 100_000, r"not CSV: field larger"),
        "tags.html": (b"<html><body>" + b"<p>potatoes <b>x" * 6_000, "(read: |took more than 30 s|needs more memory)"),
        "attributes.html": (b"<html><body><p " + b"a=1 " * 300_000 + b">potatoes</p>", r"read: potatoes\n"),
        "subject.eml": (b"From: a@example.org\nTo: b@example.org\nDate: x\nSubject: " + b"=?utf-8?q?potatoes?= " * 3_000 + b"\n\npotatoes\n", "(read: |took more than 30 s|needs more memory)"),
    }
    check(cases, tmp_path)


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile files are not beside this checkout")
def test_every_public_hostile_file_is_read_or_rejected_with_its_reason_in_bounded_memory(tmp_path: Path) -> None:
    contents = {path.relative_to(HOSTILE).as_posix(): path.read_bytes() for path in sorted(HOSTILE.rglob("*")) if path.is_file()}
    with watched() as peaks:
        texts, reasons = outcome(contents, tmp_path)
    assert sys.platform != "linux" or 10 < max(peaks) < MEMORY_MIB  # elsewhere there is no limit that is kept, nor /proc
    assert texts.keys() | reasons.keys() == contents.keys()
    assert all(reasons.values())
    assert not [reason for reason in reasons.values() if "crashed" in reason]
    encrypted = ("encrypted-file", "libreoffice-writer-password", "encryption/r4-user-password", "encryption/r6-both-passwords")
    assert {reasons.get(f"pdf/pypdf/{name}.pdf") for name in encrypted} == {"is encrypted with a password: save it without one"}
