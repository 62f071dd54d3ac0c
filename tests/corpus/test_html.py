from pathlib import Path

import pytest

from pipelines.corpus.formats import Bounds
from pipelines.corpus.formats import convert as convert_document
from pipelines.corpus.html import convert_html
from pipelines.corpus.markdown import find_line_starts, find_sections
from pipelines.corpus.parts import Unreadable

HTTPD = Path(__file__).parents[2].parent / "shared/data/docs/httpd_html"
BOUNDS = Bounds(max_pages=1, max_unpacked_bytes=1)
MENU = '<a href="/a">Modules</a> | <a href="/b">Directives</a> | <a href="/c">Glossary</a>'


def convert(content: bytes, media_type: str) -> str:
    return convert_document(content, media_type, BOUNDS).text


def test_markdown_and_plain_text_stay_as_they_are() -> None:
    assert convert(b"# A *b*\n\nx  \n", "text/markdown") == "# A *b*\n\nx\n"
    assert convert("Grüße & <b>\n".encode(), "text/plain") == "Grüße & <b>\n"


def test_html_keeps_headings_lists_and_code_and_drops_scripts_and_menus() -> None:
    page = b"""<html><head><title>t</title><style>p {}</style></head>
    <body><header>logo</header><nav>menu</nav>
    <h1>Set_up</h1><p>Type <code>make run</code> &amp; <a href="http://x">wait</a>.</p>
    <script>alert(1)</script>
    <ul><li>one</li><li>two</li></ul><pre>a = 1</pre><footer>imprint</footer></body></html>"""
    text = convert(page, "text/html")
    links = "Links:\n\n* wait: http://x\n"
    assert text == (
        f"# Set_up\n\nType `make run` & wait.\n\n* one\n* two\n\n```\na = 1\n```\n\n{links}"
    )


def test_html_with_a_main_part_keeps_that_part_and_the_title_in_its_own_header() -> None:
    main = b"<main><header><h1>Title</h1></header><p>text</p></main>"
    page = b"<body><header>logo</header><p>around</p>" + main + b"</body>"
    assert convert(page, "text/html") == "# Title\n\ntext\n"


def test_html_nested_too_deeply_is_a_rejection() -> None:
    with pytest.raises(Unreadable, match="its parts are nested too deeply"):
        convert(b"<div>" * 5000 + b"x", "text/html")


def test_a_reference_to_an_invalid_character_becomes_the_replacement_character() -> None:
    assert convert(b"<p>a&#xD800;b</p>", "text/html") == "a\ufffdb\n"


def test_rst_becomes_markdown_with_its_headings_lists_and_code() -> None:
    rst = (
        b"Title\n=====\n\nSome *text*.\n\nPart\n----\n\n* one\n* two\n\n"
        b".. code-block:: python\n\n   x = 1\n"
    )
    text = convert(rst, "text/x-rst")
    assert text == "# Title\n\nSome *text*.\n\n## Part\n\n* one\n* two\n\n```\nx = 1\n```\n"


def test_rst_names_the_file_that_it_does_not_include_and_keeps_the_words_of_raw_html(
    tmp_path: Path,
) -> None:
    (tmp_path / "secret").write_text("password")
    rst = f".. include:: {tmp_path}/secret\n\n.. raw:: html\n\n   <b>raw</b>\n\nkept\n"
    text = convert(rst.encode(), "text/x-rst")
    assert text == f".. include:: {tmp_path}/secret\n\n**raw**\n\nkept\n"


def test_rst_with_mistakes_keeps_its_text() -> None:
    rst = b".. nope::\n\n   body\n\n:func:`x` |gone| kept `open\n"
    assert "kept" in convert(rst, "text/x-rst")


def test_rst_that_docutils_cannot_parse_is_a_rejection() -> None:
    nested_lists = "\n\n".join("  " * depth + "* a" for depth in range(1500))
    with pytest.raises(Unreadable, match="its parts are nested too deeply"):
        convert(nested_lists.encode(), "text/x-rst")


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"", "text/plain"),
        (b" \n\t\n", "text/markdown"),
        (b"<p> </p><script>x</script>", "text/html"),
        (b".. comment\n", "text/x-rst"),
    ],
)
def test_a_document_without_text_is_a_rejection(content: bytes, media_type: str) -> None:
    with pytest.raises(Unreadable, match="^has no text$"):
        convert(content, media_type)


def test_sections_tile_the_text_from_the_first_heading_to_the_end() -> None:
    text = "# One\n\na\n\n## Two\nb\n\n```\n# no heading\n```\n\nThree\n=====\n\nc 🎉\n"
    sections = find_sections(text)
    assert [section["level"] for section in sections] == [1, 2, 1]
    section_texts = [text[section["start"] : section["end"]] for section in sections]
    assert section_texts == [
        "# One\n\na\n\n",
        "## Two\nb\n\n```\n# no heading\n```\n\n",
        "Three\n=====\n\nc 🎉\n",
    ]
    assert "".join(section_texts) == text


def test_text_before_the_first_heading_belongs_to_no_section() -> None:
    section = {"heading": "One", "level": 1, "start": 9, "end": 15}
    assert find_sections("preface\n\n# One\n") == [section]


def test_a_heading_loses_its_markup_and_keeps_its_words() -> None:
    text = (
        "# Set `max_tokens` *and* __my_name__\n\n## [Link](http://x) <b>bold</b>\n\n"
        "Two\nlines\n---\n"
    )
    assert [section["heading"] for section in find_sections(text)] == [
        "Set max_tokens and my_name",
        "Link bold",
        "Two lines",
    ]


def test_text_without_headings_and_plain_text_have_no_sections() -> None:
    assert find_sections("just text\n") == []
    plain_text = convert_document(b"# a comment of a plain file\n", "text/plain", BOUNDS)
    assert plain_text.sections == []


@pytest.mark.parametrize(
    "furniture",
    [
        f'<div class="menu">{MENU}</div>',
        f"<p>{MENU}</p>",
        f'<div role="navigation">{MENU}</div>',
        f"<aside>{MENU}</aside>",
        f'<div id="siteFooter">{MENU}</div>',
        f'<ul class="breadcrumb"><li>{MENU}</li></ul>',
        f"<header><p>Company</p>{MENU}</header>",
        "<form><input><button>Search</button></form>",
        '<div class="cookie-banner">We use cookies</div>',
        f"<table><tr><td>{MENU}</td></tr></table>",
    ],
)
def test_menus_footers_and_banners_are_removed_wherever_they_are(furniture: str) -> None:
    content = (
        '<h1>Soup</h1><p>Boil the <a href="/w">water</a>, then add <a href="/s">salt</a> and wait.'
        "</p>"
    )
    head = "<head><title>Kitchen</title></head>"
    page = f"<html>{head}<body>{furniture}{content}{furniture}</body></html>"
    assert convert_html(page).text == "# Soup\n\nBoil the water, then add salt and wait.\n"


def test_lists_of_links_with_a_sentence_each_stay() -> None:
    items = "".join(
        f'<li><a href="/{name}">{name}</a> cooks the {name} for a long while until it is soft.</li>'
        for name in ("pea", "bean", "leek")
    )
    page = f"<body><h1>Soups</h1><ul>{items}</ul></body>"
    assert "pea cooks the pea" in convert_html(page).text


def test_a_page_of_nothing_but_links_keeps_them() -> None:
    links = '<a href="/a">Peas</a> <a href="/b">Beans</a> <a href="/c">Leeks</a>'
    assert convert_html(f"<body><p>{links}</p></body>").text == "Peas Beans Leeks\n"


def test_a_page_without_headings_is_titled_by_its_title_element() -> None:
    page = "<html><head><title>Kitchen</title></head><body><p>text</p></body></html>"
    document = convert_html(page)
    assert (document.title, document.text) == ("Kitchen", "text\n")


@pytest.mark.skipif(not HTTPD.is_dir(), reason="the httpd manual is not beside this checkout")
def test_the_httpd_manual_keeps_its_text_and_headings_and_loses_its_navigation() -> None:
    paths = sorted(HTTPD.rglob("*.html"))[::8]  # all 262 take 15 s
    for path in paths:
        document = convert_html(path.read_text())
        assert "Modules | Directives" not in document.text, path
        assert "Available Languages" not in document.text, path
        assert "Apache > HTTP Server" not in document.text, path
        assert document.sections, path
    alias = convert_html((HTTPD / "mod/mod_alias.html").read_text())
    assert "Modules | Directives" not in alias.text
    assert alias.title == "Apache Module mod_alias"
    assert (
        "| Description: | Provides for mapping different parts of the host filesystem in the "
        "document tree and for URL redirection |"
    ) in alias.text
    assert (
        "The `Redirect`\ndirectives are used to instruct clients to make a new request with\n"
        "a different URL."
    ) in alias.text
    headings = {section["heading"] for section in alias.sections}
    assert {"Summary", "Order of Processing", "AliasMatch Directive"} <= headings


def test_line_starts_end_with_the_length_of_the_text() -> None:
    assert find_line_starts("ab\n\nc\n") == [0, 3, 4, 6, 6]
    assert find_line_starts("ab") == [0, 2]
