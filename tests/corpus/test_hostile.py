"""Files made to hurt: each is read or rejected with its reason, within limits of time and memory.

The good file beside them is always read.
"""

import gzip
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines.config.ingest import IngestConfig, Limits, PackagesSource, Quality
from pipelines.corpus import intake
from pipelines.corpus.sources import SourceDocument
from pipelines.system.cache import open_cache
from tests.corpus.conftest import watch_readers
from tests.corpus.hostile_files import (
    POTATOES,
    SECRET,
    SHEET,
    SLIDE,
    WORD_BODY,
    alter,
    alter_office_file,
    billion_laughs,
    declare,
    forward,
    insert_before,
    make_archive,
    make_epub,
    make_office_file,
    make_pdf,
    misstate_size,
    nest_multiparts,
    replace_rows,
)

HOSTILE = Path(__file__).parents[2].parent / "shared/data/hostile_inputs"
MEMORY_MIB = 1536
CONFIG = IngestConfig(
    max_rejected_share=1,
    num_workers=2,
    limits=Limits(
        seconds=30, memory_mib=MEMORY_MIB, max_document_mib=8, max_unpacked_mib=32, max_pages=500
    ),
    quality=Quality(
        min_words=1,
        min_letter_share=0.0,
        max_repeated_line_share=1,
        max_replacement_share=1,
        max_mojibake_share=1,
    ),
    near_duplicate_similarity=1,
    sources=[PackagesSource(kind="python_packages", name="packages", packages=["pydantic"])],
)
GOOD = (
    "# Potatoes\n\nPeel the potatoes, cut them into pieces of the same size and boil them until a "
    "fork goes in without force.\n"
)
AMPLIFICATION = "a damaged file: XMLSyntaxError: Maximum entity amplification"
TOO_DEEP = "its parts are nested too deeply"
TOO_MUCH = "read: |took more than 30 s of CPU time|needs more memory"
NO_GZIP_READER = "is application/x-gzip, for which there is no reader"
Cases = dict[str, tuple[bytes, str]]  # file name -> content; pattern of "read: <text>" or reason


class Results(NamedTuple):
    """What became of files, by their names."""

    texts: dict[str, str]
    reasons: dict[str, str]


def take_in(contents: dict[str, bytes], folder: Path, config: IngestConfig = CONFIG) -> Results:
    documents = (("s", SourceDocument(name, content)) for name, content in contents.items())
    with open_cache(folder / "work.sqlite", intake.cache_kind(config)) as cache:
        result = intake.take_in(documents, config, cache)
        texts = {row["uri"]: row["text"] for row in intake.document_rows(result, cache)}
    for original, aliases in result.aliases.items():
        texts |= dict.fromkeys(aliases, texts[original])
    return Results(texts, {row["uri"]: row["reason"] for row in result.rejections})


def check(cases: Cases, folder: Path) -> dict[str, str]:
    """The texts that were read.

    Asserts that each file's text or reason matches, that the good file beside them is read, and
    that no reader took more memory than it may.
    """
    contents = {name: content for name, (content, _) in cases.items()}
    with watch_readers() as peaks:
        results = take_in({**contents, "good.md": GOOD.encode()}, folder)
    mismatches: dict[str, str] = {}
    for name, (_, pattern) in cases.items():
        texts = results.texts
        result = f"read: {texts[name]}" if name in texts else results.reasons[name]
        if not re.match(pattern, result):
            mismatches[name] = result[:300]
    assert not mismatches
    assert results.texts["good.md"] == GOOD
    check_memory(peaks)
    return results.texts


def check_memory(peaks: list[int]) -> None:
    if sys.platform == "linux":  # elsewhere no limit is enforced, and there is no /proc
        assert 10 < max(peaks) < MEMORY_MIB


def test_text_that_is_nested_without_end_is_read_or_rejected(tmp_path: Path) -> None:
    deep_list = b"".join(b" " * 2 * level + b"- potatoes\n" for level in range(1500))
    deep_quotes = b"".join(b" " * level + b"potatoes\n\n" for level in range(1200))
    brackets = b"[" * 50_000 + b"potatoes" + b"]" * 50_000
    tables = b"<html><body>" + b"<table><tr><td>" * 3000 + b"potatoes"
    cases: Cases = {
        "quotes.md": (b">" * 20_000 + b" potatoes\n", r"read: "),
        "lists.md": (deep_list, r"read: - potatoes\n  - potatoes"),
        "brackets.md": (brackets, r"read: \[\[.*potatoes"),
        "emphasis.md": (b"*a **a " * 30_000, r"read: \*a"),
        "divs.html": (b"<html><body>" + b"<div>" * 100_000 + b"potatoes", TOO_DEEP),
        "tables.html": (tables, TOO_DEEP),
        "quotes.rst": (deep_quotes, TOO_DEEP),
        "forwarded.eml": (forward(3000), TOO_DEEP),
        "multiparts.eml": (nest_multiparts(3000), TOO_DEEP),
    }
    check(cases, tmp_path)


def test_archives_that_are_nested_without_end_are_rejected(tmp_path: Path) -> None:
    tables = b"<w:tbl><w:tr><w:tc>" * 2000 + b"<w:p/>" + b"</w:tc></w:tr></w:tbl>" * 2000
    groups = b"<p:grpSp>" * 2000 + b"</p:grpSp>" * 2000
    docx = alter_office_file("docx", WORD_BODY, insert_before(b"</w:body>", tables))
    pptx = alter_office_file("pptx", SLIDE, insert_before(b"</p:spTree>", groups))
    epub = make_epub("<html><body>" + "<div>" * 50_000 + "potatoes")
    cases: Cases = {
        "tables.docx": (docx, "a damaged file: XMLSyntaxError: Excessive depth"),
        "groups.pptx": (pptx, "a damaged file: XMLSyntaxError: Excessive depth"),
        "chapter.epub": (epub, f"chapter 1: {TOO_DEEP}"),
    }
    check(cases, tmp_path)


@pytest.mark.parametrize(
    ("entities", "office_reason", "sheet_result"),
    [
        (billion_laughs(), AMPLIFICATION, AMPLIFICATION),
        (SECRET, "has no text", r"read: # Sheet\n\n- large; minutes: 20\n"),
    ],
)
def test_xml_that_repeats_itself_or_names_files_of_this_machine_gives_neither(
    entities: str, office_reason: str, sheet_result: str, tmp_path: Path
) -> None:
    page = f"<?xml version='1.0'?>{entities}<html><body><p>potatoes &l11;</p></body></html>"
    change = declare(entities, b"potatoes")
    package = alter(make_epub("<html/>"), "book.opf", declare(entities, b"nothing"))
    includes = (
        b"potatoes\n\n.. include:: /etc/passwd\n\n.. raw:: html\n   :file: /etc/passwd\n\n"
        b".. csv-table::\n   :file: /etc/passwd\n"
    )
    outside = make_epub("<html/>", href="../../../../../../etc/passwd")
    cases: Cases = {
        "a.docx": (alter_office_file("docx", WORD_BODY, change), office_reason),
        "a.pptx": (alter_office_file("pptx", SLIDE, change), office_reason),
        "a.xlsx": (alter_office_file("xlsx", SHEET, change), sheet_result),
        "book.epub": (package, "a damaged EPUB: EntitiesForbidden"),
        "chapter.epub": (make_epub(page), r"read: .*\n+potatoes &l11;\n"),
        "page.html": (page.encode(), r"read: .*\n+potatoes &l11;\n"),
        "include.rst": (includes, r"read: potatoes\n\n\.\. include:: /etc/passwd\n"),
        "outside.epub": (outside, "a damaged EPUB: KeyError: .*etc/passwd' in the archive"),
    }
    texts = check(cases, tmp_path)
    for text in texts.values():
        assert "root:" not in text
        assert text.count("ha") <= 5


def test_what_unpacks_to_much_more_than_it_holds_is_rejected_or_fits_the_memory(
    tmp_path: Path,
) -> None:
    zeros = bytes(200_000_000)
    paragraphs = insert_before(b"</w:body>", b"<w:p/>" * 10_000_000)
    long_sheet = alter_office_file("xlsx", SHEET, lambda body: body + zeros)
    far_cells = replace_rows(
        b'<row r="1"><c r="XFD1"><v>1</v></c></row>'
        b'<row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'
    )
    cases: Cases = {
        "bomb.docx": (alter_office_file("docx", WORD_BODY, paragraphs), "unpacks to 60,"),
        "bomb.xlsx": (long_sheet, "unpacks to 200,"),
        "bomb.epub": (make_epub("<html><body>" + "potatoes " * 20_000_000), "unpacks to 180,"),
        "lying.xlsx": (
            misstate_size(long_sheet, SHEET, 400),
            "a damaged file: BadZipFile: Bad CRC-32",
        ),
        "type.epub": (
            make_archive({"mimetype": b"application/epub+zip" + zeros}),
            "a zip archive that is no docx",
        ),
        "columns.xlsx": (
            alter_office_file("xlsx", SHEET, far_cells),
            r"read: # Sheet\n\n- 1: 2\n",
        ),
        "stream.pdf": (
            make_pdf(1, POTATOES + b" " * 400_000_000),
            "read: potatoes|took more than 30 s of CPU time|needs more memory",
        ),
        "packed.csv": (gzip.compress(zeros), NO_GZIP_READER),
    }
    check(cases, tmp_path)


def test_a_pdf_whose_page_takes_for_ever_is_given_up_and_the_next_file_read(tmp_path: Path) -> None:
    limits = CONFIG.limits.model_copy(update={"seconds": 8})
    config = CONFIG.model_copy(update={"num_workers": 1, "limits": limits})
    pdf = make_pdf(1, (POTATOES + b" ") * 2_000_000)
    results = take_in({"operators.pdf": pdf, "good.md": GOOD.encode()}, tmp_path, config)
    assert results.reasons == {"operators.pdf": "took more than 8 s of CPU time"}
    assert results.texts == {"good.md": GOOD}


def test_an_endless_page_tree_is_read_once_and_one_with_too_many_pages_rejected(
    tmp_path: Path,
) -> None:
    circle = make_pdf(2, children="2 0 R 5 0 R 6 0 R 2 0 R")
    cases: Cases = {
        "many.pdf": (make_pdf(1200), "has 1200 pages, more than ingest.limits.max_pages"),
        "circle.pdf": (circle, r"read: potatoes\n\npotatoes\n$"),
        "few.pdf": (make_pdf(3), r"read: potatoes\n\npotatoes\n\npotatoes\n$"),
    }
    check(cases, tmp_path)


def test_a_name_that_says_another_format_than_the_content_is_not_believed(tmp_path: Path) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20
    page = "<h1>potatoes</h1><p>Boil them until they are soft.</p>"
    html = f"<!doctype html><html><body><main>{page}</main></body></html>"
    sentence = "potatoes are boiled until they are soft"
    cases: Cases = {
        "pdf.md": (make_pdf(2), r"read: potatoes\n\npotatoes\n"),
        "docx.pdf": (make_office_file("docx"), r"read: potatoes\n"),
        "xlsx.docx": (
            make_office_file("xlsx"),
            r"read: # Sheet\n\n- potatoes: large; minutes: 20\n",
        ),
        "pptx.txt": (make_office_file("pptx"), r"read: potatoes\n"),
        "epub.zip": (
            make_epub(f"<html><body>{page}</body></html>"),
            r"read: # potatoes\n\nBoil",
        ),
        "html.txt": (html.encode(), r"read: # potatoes\n\nBoil"),
        "text.pdf": (sentence.encode(), "read: potatoes are"),
        "utf16.html": (sentence.encode("utf-16"), "read: potatoes are"),
        "picture.md": (picture, "is image/png, for which there is no reader"),
        "packed.csv": (gzip.compress(b"a,b\n1,2\n" * 100), NO_GZIP_READER),
        "zip.epub": (make_archive({"a.txt": b"potatoes"}), "a zip archive that is no docx"),
    }
    check(cases, tmp_path)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_file_that_is_cut_short_is_rejected_and_an_email_read_as_far_as_it_goes(
    share: float, tmp_path: Path
) -> None:
    whole_files: Cases = {
        "a.docx": (make_office_file("docx"), "a damaged zip archive"),
        "a.pptx": (make_office_file("pptx"), "a damaged zip archive"),
        "a.xlsx": (make_office_file("xlsx"), "a damaged zip archive"),
        "a.epub": (
            make_epub("<html><body><p>potatoes</p></body></html>"),
            "a damaged zip archive",
        ),
        "a.pdf": (make_pdf(3), "a damaged PDF: "),
        "a.eml": (forward(1), "has no text|read: # potatoes"),
    }
    cases: Cases = {}
    for name, (content, pattern) in whole_files.items():
        cases[name] = (content[: int(len(content) * share)], pattern)
    check(cases, tmp_path)


def test_long_lines_and_wide_tables_stay_within_the_limits(tmp_path: Path) -> None:
    names = b",".join(b"potato%d" % number for number in range(50_000))
    wide_table = names + b"\n" + b"1," * 49_999 + b"1\n"
    long_field = b"a,b\n" + b'"' + b"potatoes " * 500_000 + b'",2\n'
    attributes = b"<html><body><p " + b"a=1 " * 300_000 + b">potatoes</p>"
    mail_head = b"From: a@example.org\nTo: b@example.org\nDate: x\nSubject: "
    long_subject = mail_head + b"=?utf-8?q?potatoes?= " * 3_000 + b"\n\npotatoes\n"
    cases: Cases = {
        "line.md": (b"potatoes" * 800_000, "read: potatoespotatoes"),
        "spaces.md": (b" \t" * 3_000_000 + b"potatoes", r"read: potatoes\n"),
        "ticks.md": (b"`" * 1_000_000 + b"potatoes", "read: .*potatoes"),
        "rows.csv": (b"a,b\n" + b"potatoes,2\n" * 50_000, TOO_MUCH),
        "wide.csv": (wide_table, TOO_MUCH),
        "field.csv": (long_field, "read: - a: potatoes potatoes"),
        "quote.csv": (b'a,b\n"potatoes,' + b"1,2\n" * 100_000, TOO_MUCH),
        "tags.html": (b"<html><body>" + b"<p>potatoes <b>x" * 6_000, TOO_MUCH),
        "attributes.html": (attributes, r"read: potatoes\n"),
        "subject.eml": (long_subject, TOO_MUCH),
    }
    check(cases, tmp_path)


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile files are not beside this checkout")
def test_every_public_hostile_file_is_read_or_rejected_in_bounded_memory(tmp_path: Path) -> None:
    contents: dict[str, bytes] = {}
    for path in sorted(HOSTILE.rglob("*")):
        if path.is_file():
            contents[path.relative_to(HOSTILE).as_posix()] = path.read_bytes()
    with watch_readers() as peaks:
        results = take_in(contents, tmp_path)
    check_memory(peaks)
    assert results.texts.keys() | results.reasons.keys() == contents.keys()
    for reason in results.reasons.values():
        assert reason
        assert "crashed" not in reason
    encrypted_names = (
        "encrypted-file",
        "libreoffice-writer-password",
        "encryption/r4-user-password",
        "encryption/r6-both-passwords",
    )
    reasons = {results.reasons.get(f"pdf/pypdf/{name}.pdf") for name in encrypted_names}
    assert reasons == {"is encrypted with a password: save it without one"}
