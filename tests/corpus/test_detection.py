import io
import json
import zipfile
from pathlib import Path

import pytest

from pipelines.corpus import detection
from pipelines.corpus.delimited import read_csv
from pipelines.corpus.detection import decode, detect_media_type
from pipelines.corpus.parts import Unreadable

HOSTILE = Path(__file__).parents[2].parent / "shared/data/hostile_inputs"
UTF8_CASES = HOSTILE / "utf8/utf8tests/utf8tests.txt"
MAIL = b"From: ada@example.org\nTo: ben@example.org\nSubject: Soup\n\nBoil it.\n"


def archive(*names: str, mimetype: str | None = None) -> bytes:
    """A zip archive with empty files of these names."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        if mimetype:
            file.writestr("mimetype", mimetype)
        for name in names:
            file.writestr(name, "")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "media_type"),
    [
        (b"%PDF-1.7\n", "a.docx", detection.PDF),
        (archive("[Content_Types].xml", "word/document.xml"), "a.pdf", detection.DOCX),
        (archive("[Content_Types].xml", "ppt/presentation.xml"), "a", detection.PPTX),
        (archive("[Content_Types].xml", "xl/workbook.xml"), "a.csv", detection.XLSX),
        (archive("x.html", mimetype="application/epub+zip"), "a.zip", detection.EPUB),
        (b"<!DOCTYPE html><p>a</p>", "a.txt", detection.HTML),
        (b"<?xml version='1.0'?>\n<!-- x --><html><p>a</p></html>", "a", detection.HTML),
        (MAIL, "a", detection.MAIL),
        (b"<p>a</p>", "a.html", detection.HTML),
        (b"# A", "a.MD", detection.MARKDOWN),
        (b"A\n=\n", "a.rst", detection.RST),
        (b"a,b\n", "a.csv", detection.CSV),
        (b"all: a", "Makefile", detection.PLAIN),
        (b"just text", "a.pdf", detection.PLAIN),
    ],
)
def test_the_content_decides_and_the_name_only_between_kinds_of_text(
    content: bytes, name: str, media_type: str
) -> None:
    assert detect_media_type(content, name) == media_type


def test_what_the_source_states_counts_if_the_content_is_text_and_the_name_says_nothing() -> None:
    assert detect_media_type(b"A\n=\n", "packages/x", "text/x-rst") == detection.RST
    assert detect_media_type(b"%PDF-1.7", "packages/x", "text/x-rst") == detection.PDF


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            bytes.fromhex("89504e470d0a1a0a0000000d49484452"),
            "is image/png, for which there is no reader",
        ),
        (archive("a.txt"), "a zip archive that is no docx, pptx, xlsx or EPUB"),
        (b"PK\x03\x04 nonsense", "a damaged zip archive"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
            "an Office file from before 2007, or one with a password",
        ),
        (
            archive("content.xml", mimetype="application/vnd.oasis.opendocument.text"),
            "an OpenDocument file: save it as docx",
        ),
        (archive("Index/Document.iwa"), "a file of Pages, Numbers or Keynote"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "a Git LFS pointer, not the file: run `git lfs pull`",
        ),
        (
            b"/annex/objects/SHA256E-s12345--4d7a.pdf\n",
            "a git-annex pointer, not the file: run `git annex get`",
        ),
        (
            b"../../.git/annex/objects/Gx/0J/SHA256E-s1--4d7a.pdf/SHA256E-s1--4d7a.pdf",
            "a git-annex pointer, not the file: run `git annex get`",
        ),
    ],
)
def test_a_file_without_a_reader_is_rejected_by_what_it_is(content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        detect_media_type(content, "a.txt")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.adoc", "AsciiDoc: convert it to HTML"),
        ("a.tex", "LaTeX: convert it to Markdown with `pandoc"),
        ("a.org", "Org mode: convert it to Markdown with `pandoc"),
        ("a.textile", "Textile: convert it to Markdown"),
        ("a.mediawiki", "MediaWiki's markup: convert it"),
        ("a.fodt", "flat OpenDocument: save it as docx"),
    ],
)
def test_markup_without_a_reader_is_rejected_with_the_way_to_convert_it(
    name: str, reason: str
) -> None:
    with pytest.raises(Unreadable, match=reason):
        detect_media_type(b"Some text in this markup", name)


def test_a_text_about_git_annex_is_read() -> None:
    text = b"Below /annex/objects/ the files lie.\n"
    assert detect_media_type(text, "a.txt") == detection.PLAIN


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "Die Grüße der Bäckerei kommen spät, aber sie kommen für alle Gäste schön an."),
        ("cp1251", "Это обычный текст на русском языке, который записан в старой кодировке."),
        ("shift_jis", "これは古い文字コードで書かれた普通の日本語の文章です。読めるはずです。"),
    ],
)
def test_text_in_an_older_encoding_is_read(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_utf8_and_utf16_marks_are_dropped_and_line_ends_are_unix() -> None:
    assert decode(b"\xef\xbb\xbfa\r\nb\rc\n") == "a\nb\nc\n"
    assert decode("ä\r\n".encode("utf-16-le").join([b"\xff\xfe", b""])) == "ä\n"
    assert decode("ä\n".encode("utf-16-be").join([b"\xfe\xff", b""])) == "ä\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"abc\xff", "not utf-8: invalid start byte at byte 3"),
        (
            "Grüße aus der schönen Stadt ".encode() * 3 + b"\xff",
            "not utf-8: invalid start byte at byte 93",
        ),
        ("Grüße".encode("latin-1"), "not utf-8: invalid start byte at byte 2"),
        (b"\xe2\x82", "not utf-8: unexpected end of data at byte 0"),
        (b"\xed\xa0\x80", "not utf-8: invalid continuation byte at byte 0"),
        (b"\xff\xfea", "not utf-16: truncated data at byte 2"),
        (b"ab\0c", "holds a NUL character at 2: not a text file"),
    ],
)
def test_content_that_is_not_text_is_rejected_with_the_first_wrong_byte(
    content: bytes, reason: str
) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(content)
    assert str(caught.value) == reason


def survives_decoding(content: bytes) -> bool:
    """Whether it is read, and reads as it was written."""
    try:
        return decode(content).encode() == content
    except Unreadable:
        return False


@pytest.mark.skipif(
    not UTF8_CASES.is_file(), reason="the hostile files are not beside this checkout"
)
def test_every_valid_sequence_of_the_hostile_table_is_read_and_every_invalid_one_rejected() -> None:
    num_cases = 0
    wrong_cases = []
    for line in UTF8_CASES.read_text().splitlines():
        if " hex:" not in line or line.startswith("#"):
            continue
        number, kind, hexadecimal, *_ = line.split(":")
        content = b"x" + bytes.fromhex(hexadecimal)
        is_valid = "invalid" not in kind and b"\0" not in content
        if survives_decoding(content) != is_valid:
            wrong_cases.append(number)
        num_cases += 1
    assert num_cases > 100
    assert wrong_cases == []


def normalize(cell: object) -> str:
    """The cell as text with Unix line ends."""
    return str(cell).replace("\r\n", "\n")


@pytest.mark.skipif(
    not (HOSTILE / "csv").is_dir(), reason="csv-spectrum is not beside this checkout"
)
def test_every_file_of_csv_spectrum_gives_the_rows_that_it_states() -> None:
    num_checked = 0
    for path in sorted((HOSTILE / "csv").rglob("*.csv")):
        statement = next((HOSTILE / "csv").rglob(f"{path.stem}.json"), None)
        if statement is None:
            continue
        head, *rows = read_csv(decode(path.read_bytes()))
        records = json.loads(statement.read_text())
        for row, record in zip(rows, records, strict=True):
            cells = dict(zip(head, map(normalize, row), strict=True))
            assert cells == {name: normalize(record[name]) for name in head}, path.name
        num_checked += 1
    assert num_checked >= 8
