from pathlib import Path

import pytest

from pipelines.corpus.formats import Unreadable, convert, decode, line_starts, sections

HOSTILE = Path(__file__).parents[2].parent / "shared/data/hostile_inputs/utf8"
needs_hostile = pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile UTF-8 files are not beside this checkout")


def test_markdown_and_plain_text_stay_as_they_are() -> None:
    assert convert(b"# A *b*\n\nx  \n", "text/markdown") == "# A *b*\n\nx\n"
    assert convert("Grüße & <b>\n".encode(), "text/plain") == "Grüße & <b>\n"


def test_html_keeps_headings_lists_and_code_and_drops_scripts_menus_and_links() -> None:
    page = b"""<html><head><title>t</title><style>p {}</style></head><body><header>logo</header><nav>menu</nav>
    <h1>Set_up</h1><p>Type <code>make run</code> &amp; <a href="http://x">wait</a>.</p><script>alert(1)</script>
    <ul><li>one</li><li>two</li></ul><pre>a = 1</pre><footer>imprint</footer></body></html>"""
    assert convert(page, "text/html") == "# Set_up\n\nType `make run` & wait.\n\n* one\n* two\n\n```\na = 1\n```\n"


def test_html_with_a_main_part_keeps_that_part_and_the_title_in_its_own_header() -> None:
    page = b"<body><header>logo</header><p>around</p><main><header><h1>Title</h1></header><p>text</p></main></body>"
    assert convert(page, "text/html") == "# Title\n\ntext\n"


def test_html_nested_too_deeply_is_a_rejection() -> None:
    with pytest.raises(Unreadable, match="its HTML elements are nested too deeply"):
        convert(b"<div>" * 5000 + b"x", "text/html")


def test_a_character_reference_that_is_no_character_becomes_the_replacement_character() -> None:
    assert convert(b"<p>a&#xD800;b</p>", "text/html") == "a\ufffdb\n"


def test_rst_becomes_markdown_with_its_headings_lists_and_code() -> None:
    text = b"Title\n=====\n\nSome *text*.\n\nPart\n----\n\n* one\n* two\n\n.. code-block:: python\n\n   x = 1\n"
    assert convert(text, "text/x-rst") == "# Title\n\nSome *text*.\n\n## Part\n\n* one\n* two\n\n```\nx = 1\n```\n"


def test_rst_includes_no_file_and_no_raw_html(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password")
    text = f".. include:: {tmp_path}/secret\n\n.. raw:: html\n\n   <b>raw</b>\n\nkept\n"
    assert convert(text.encode(), "text/x-rst") == "kept\n"


def test_rst_with_mistakes_keeps_its_text() -> None:
    assert "kept" in convert(b".. nope::\n\n   body\n\n:func:`x` |gone| kept `open\n", "text/x-rst")


def test_rst_that_docutils_cannot_parse_is_a_rejection() -> None:
    nested = "\n\n".join("  " * depth + "* a" for depth in range(1500))
    with pytest.raises(Unreadable, match="not reStructuredText: maximum recursion depth exceeded"):
        convert(nested.encode(), "text/x-rst")


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(b"", "text/plain"), (b" \n\t\n", "text/markdown"), (b"<p> </p><script>x</script>", "text/html"), (b".. comment\n", "text/x-rst")],
)
def test_a_document_without_text_is_a_rejection(content: bytes, media_type: str) -> None:
    with pytest.raises(Unreadable, match="^has no text$"):
        convert(content, media_type)


def test_utf8_and_utf16_marks_are_dropped_and_line_ends_are_unix() -> None:
    assert decode(b"\xef\xbb\xbfa\r\nb\rc\n") == "a\nb\nc\n"
    assert decode("ä\r\n".encode("utf-16-le").join([b"\xff\xfe", b""])) == "ä\n"
    assert decode("ä\n".encode("utf-16-be").join([b"\xfe\xff", b""])) == "ä\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"abc\xff", "not utf-8: invalid start byte at byte 3"),
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


@needs_hostile
@pytest.mark.filterwarnings("ignore::bs4.XMLParsedAsHTMLWarning")
def test_every_file_of_the_hostile_folder_becomes_text_or_a_rejection() -> None:
    read, rejected = 0, 0
    for path in sorted(item for item in HOSTILE.rglob("*") if item.is_file()):
        try:
            text = convert(path.read_bytes(), "text/html" if path.suffix == ".html" else "text/markdown")
        except Unreadable:
            rejected += 1
            continue
        read += 1
        assert text.encode()
        found = sections(text, "text/markdown")
        assert [section["end"] for section in found] == [*(section["start"] for section in found), len(text)][1:]
    assert read > 10
    assert rejected > 3


def test_sections_tile_the_text_from_the_first_heading_to_the_end() -> None:
    text = "# One\n\na\n\n## Two\nb\n\n```\n# no heading\n```\n\nThree\n=====\n\nc 🎉\n"
    found = sections(text, "text/markdown")
    assert [(section["level"], text[section["start"] : section["end"]]) for section in found] == [
        (1, "# One\n\na\n\n"),
        (2, "## Two\nb\n\n```\n# no heading\n```\n\n"),
        (1, "Three\n=====\n\nc 🎉\n"),
    ]
    assert "".join(text[section["start"] : section["end"]] for section in found) == text


def test_text_before_the_first_heading_belongs_to_no_section() -> None:
    assert sections("preface\n\n# One\n", "text/markdown") == [{"heading": "One", "level": 1, "start": 9, "end": 15}]


def test_a_heading_loses_its_markup_and_keeps_its_words() -> None:
    text = "# Set `max_tokens` *and* __my_name__\n\n## [Link](http://x) <b>bold</b>\n\nTwo\nlines\n---\n"
    assert [section["heading"] for section in sections(text, "text/markdown")] == ["Set max_tokens and my_name", "Link bold", "Two lines"]


def test_text_without_headings_and_plain_text_have_no_sections() -> None:
    assert sections("just text\n", "text/markdown") == []
    assert sections("# a comment of a plain file\n", "text/plain") == []


def test_line_starts_end_with_the_length_of_the_text() -> None:
    assert line_starts("ab\n\nc\n") == [0, 3, 4, 6, 6]
    assert line_starts("ab") == [0, 2]
