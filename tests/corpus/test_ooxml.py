import io
import zipfile

import pytest
from docx import Document

from pipelines.corpus.detection import DOCX, PPTX, XLSX
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import Unreadable
from tests.corpus.hostile_files import alter, make_archive, make_office_file
from tests.corpus.word_files import save

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)
TYPES = {"docx": DOCX, "pptx": PPTX, "xlsx": XLSX}
EXPECTED_TEXTS = {
    "docx": "potatoes\n",
    "pptx": "# potatoes\n",
    "xlsx": "# Sheet\n\n- potatoes: large; minutes: 20\n",
}


def test_an_archive_that_unpacks_to_more_than_allowed_is_refused_before_it_is_unpacked() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr("word/document.xml", b"\0" * (BOUNDS.max_unpacked_bytes + 1))
    assert len(content.getvalue()) < 100_000
    problem = r"unpacks to 16,777,217 bytes, more than ingest\.limits\.max_unpacked_mib allows"
    with pytest.raises(Unreadable, match=problem):
        convert(content.getvalue(), DOCX, BOUNDS)


def test_a_truncated_docx_is_a_rejection_with_its_reason() -> None:
    file = Document()
    file.add_paragraph("text")
    with pytest.raises(Unreadable, match="a damaged file: BadZipFile"):
        convert(save(file)[:-200], DOCX, BOUNDS)


@pytest.mark.parametrize("media_type", [PPTX, XLSX])
def test_a_damaged_archive_is_a_rejection_with_its_reason(media_type: str) -> None:
    with pytest.raises(Unreadable, match="a damaged file: BadZipFile"):
        convert(b"PK\x03\x04 nonsense", media_type, BOUNDS)


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx"])
def test_the_strict_variant_reads_like_the_transitional_one(kind: str) -> None:
    with zipfile.ZipFile(io.BytesIO(make_office_file(kind))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    strict_members = {}
    for name, body in members.items():
        for family in ("officeDocument", "wordprocessingml", "spreadsheetml", "presentationml"):
            transitional = f"http://schemas.openxmlformats.org/{family}/2006/".encode()
            body = body.replace(transitional, f"http://purl.oclc.org/ooxml/{family}/".encode())
        transitional = b"http://schemas.openxmlformats.org/drawingml/2006/"
        strict_members[name] = body.replace(transitional, b"http://purl.oclc.org/ooxml/drawingml/")
    assert any(b"purl.oclc.org" in body for body in strict_members.values())
    document = convert(make_archive(strict_members), TYPES[kind], BOUNDS)
    assert document.text == EXPECTED_TEXTS[kind]


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx"])
def test_parts_are_found_whatever_case_and_slashes_their_names_have(kind: str) -> None:
    with zipfile.ZipFile(io.BytesIO(make_office_file(kind))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    odd_members = {name.replace("/", "\\").upper(): body for name, body in members.items()}
    document = convert(make_archive(odd_members), TYPES[kind], BOUNDS)
    assert document.text == EXPECTED_TEXTS[kind]


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx"])
def test_a_relation_to_a_missing_part_takes_nothing_else_away(kind: str) -> None:
    main = {"docx": "word/document", "pptx": "ppt/presentation", "xlsx": "xl/workbook"}[kind]
    folder, _, stem = main.partition("/")
    missing_part = (
        b'<Relationship Id="rId99" Target="nowhere.xml" Type="http://schemas.openxmlformats.org/'
        b'officeDocument/2006/relationships/comments"/></Relationships>'
    )
    content = alter(
        make_office_file(kind),
        f"{folder}/_rels/{stem}.xml.rels",
        lambda body: body.replace(b"</Relationships>", missing_part),
    )
    assert convert(content, TYPES[kind], BOUNDS).text == EXPECTED_TEXTS[kind]


def test_a_package_without_its_main_part_is_a_rejection() -> None:
    content = make_archive({"[Content_Types].xml": b"<Types/>", "word/other.xml": b"<a/>"})
    with pytest.raises(Unreadable, match="the package names no main document"):
        convert(content, DOCX, BOUNDS)
