import io
import json
import zipfile
from pathlib import Path

import pytest

from pipelines.corpus.detection import CSV, DOCX, EPUB, HTML, MAIL, MARKDOWN, PDF, PLAIN, PPTX, RST, XLSX, decode, media_type
from pipelines.corpus.letters import rows
from pipelines.corpus.parts import Unreadable

SHARED = Path(__file__).parents[2].parent / "shared/data/hostile_inputs"
HOSTILE = SHARED / "utf8"
needs_hostile = pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile files are not beside this checkout")
MAIL_TEXT = b"From: ada@example.org\nTo: ben@example.org\nSubject: Soup\n\nBoil it.\n"


def archive(*names: str, mimetype: str | None = None) -> bytes:
    """A zip archive with empty files of these names."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        if mimetype:
            opened.writestr("mimetype", mimetype)
        for name in names:
            opened.writestr(name, "")
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "found"),
    [
        (b"%PDF-1.7\n", "a.docx", PDF),
        (archive("[Content_Types].xml", "word/document.xml"), "a.pdf", DOCX),
        (archive("[Content_Types].xml", "ppt/presentation.xml"), "a", PPTX),
        (archive("[Content_Types].xml", "xl/workbook.xml"), "a.csv", XLSX),
        (archive("x.html", mimetype="application/epub+zip"), "a.zip", EPUB),
        (b"<!DOCTYPE html><p>a</p>", "a.txt", HTML),
        (b"<?xml version='1.0'?>\n<!-- x --><html><p>a</p></html>", "a", HTML),
        (MAIL_TEXT, "a", MAIL),
        (b"<p>a</p>", "a.html", HTML),
        (b"# A", "a.MD", MARKDOWN),
        (b"A\n=\n", "a.rst", RST),
        (b"a,b\n", "a.csv", CSV),
        (b"all: a", "Makefile", PLAIN),
        (b"just text", "a.pdf", PLAIN),
    ],
)
def test_the_content_tells_the_media_type_and_the_name_decides_between_kinds_of_text_alone(content: bytes, name: str, found: str) -> None:
    assert media_type(content, name) == found


def test_what_the_source_says_counts_where_the_content_is_text_and_the_name_says_nothing() -> None:
    assert media_type(b"A\n=\n", "packages/x", "text/x-rst") == RST
    assert media_type(b"%PDF-1.7", "packages/x", "text/x-rst") == PDF


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bytes.fromhex("89504e470d0a1a0a0000000d49484452"), "is image/png, for which there is no reader"),
        (archive("a.txt"), "a zip archive that is no docx, pptx, xlsx or EPUB"),
        (b"PK\x03\x04 nonsense", "a damaged zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "an Office file from before 2007, or one with a password"),
    ],
)
def test_what_has_no_reader_is_refused_by_what_it_is(content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        media_type(content, "a.txt")


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
        ("Grüße aus der schönen Stadt ".encode() * 3 + b"\xff", "not utf-8: invalid start byte at byte 93"),
        ("Grüße".encode("latin-1"), "not utf-8: invalid start byte at byte 2"),
        (b"\xe2\x82", "not utf-8: unexpected end of data at byte 0"),
        (b"\xed\xa0\x80", "not utf-8: invalid continuation byte at byte 0"),
        (b"\xff\xfea", "not utf-16: truncated data at byte 2"),
        (b"ab\0c", "holds a NUL character at 2: not a text file"),
    ],
)
def test_content_in_another_encoding_is_a_rejection_with_the_first_wrong_byte(content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(content)
    assert str(caught.value) == reason


@needs_hostile
def test_every_valid_sequence_of_the_hostile_table_is_read_and_every_invalid_one_refused() -> None:
    cases = [line.split(":") for line in (HOSTILE / "utf8tests/utf8tests.txt").read_text().splitlines() if " hex:" in line and line[0] != "#"]
    wrong = []
    for number, kind, hexadecimal, *_ in cases:
        content = b"x" + bytes.fromhex(hexadecimal)
        try:
            refused = decode(content).encode() != content
        except Unreadable:
            refused = True
        if refused != ("invalid" in kind or b"\0" in content):
            wrong.append(number)
    assert len(cases) > 100
    assert wrong == []


@pytest.mark.skipif(not (SHARED / "csv").is_dir(), reason="csv-spectrum is not beside this checkout")
def test_every_file_of_csv_spectrum_gives_the_rows_that_it_states() -> None:
    checked = 0
    for path in sorted((SHARED / "csv").rglob("*.csv")):
        expected = next(iter((SHARED / "csv").rglob(f"{path.stem}.json")), None)
        if expected is None:
            continue
        head, *body = rows(decode(path.read_bytes()))
        assert [[cell.replace("\r\n", "\n") for cell in row] for row in body] == [[str(row[name]).replace("\r\n", "\n") for name in head] for row in json.loads(expected.read_text())], path.name
        checked += 1
    assert checked >= 8
