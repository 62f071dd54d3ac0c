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


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ('<section id="share-a-dataset"><h2>Share a dataset</h2>', "</section>"),
        ('<div class="section" id="comments"><h2>Comments</h2>', "</div>"),
        ('<section id="pagination"><h2>Pagination</h2>', "</section>"),
        ('<section id="menu"><h2>The menu</h2>', "</section>"),
        ('<div class="page has-sidebar">', "</div>"),
        ('<div class="content with-toc no-footer">', "</div>"),
        ('<div class="content-with-sidebar">', "</div>"),
        ('<form id="aspnetForm" action="x">', "</form>"),
        ("<aside class='note'>", "</aside>"),
        ("<aside>", "</aside>"),
        ('<aside class="admonition sidebar"><p class="sidebar-title">Side</p>', "</aside>"),
        ('<main id="app"></main><div>', "</div>"),
        ('<article class="teaser"><p>Read more</p></article><div>', "</div>"),
        ("<blockquote><footer>", "</footer></blockquote>"),
        ("<details><summary>More</summary>", "</details>"),
        ('<div class="table-header">', "</div>"),
        ('<div class="tabs"><div role="tabpanel" hidden>', "</div></div>"),
    ],
)
def test_prose_stays_whatever_its_element_is_called(opening: str, closing: str) -> None:
    prose = "Peel the potatoes and cut them into pieces of the same size before you boil them."
    page = (
        f"<body><h1>Soup</h1><p>First of all.</p>{opening}<p>{prose}</p>{closing}"
        "<p>Last of all.</p></body>"
    )
    text = convert_html(page).text
    assert "First of all." in text
    assert prose in text
    assert "Last of all." in text


def test_all_articles_of_a_page_stay() -> None:
    articles = "".join(
        f"<article><h2>{name}</h2><p>Boil the {name} for a long while until soft.</p></article>"
        for name in ("Peas", "Beans", "Leeks")
    )
    text = convert_html(f"<body><nav>{MENU}</nav><div>{articles}</div></body>").text
    for name in ("Peas", "Beans", "Leeks"):
        assert f"## {name}\n\nBoil the {name} for a long while" in text
    assert "Modules" not in text


def test_lists_and_tables_of_links_that_the_text_introduces_stay() -> None:
    items = "".join(f'<li><a href="/{name}">{name}</a></li>' for name in ("Pea", "Bean", "Leek"))
    rows = "".join(f'<tr><td><a href="/{name}">{name}</a></td></tr>' for name in ("A", "B", "C"))
    page = (
        f"<body><ul>{items}</ul><h1>Soups</h1><p>There are three soups:</p><ul>{items}</ul>"
        f"<h2>Letters</h2><table><tr><th>Letter</th></tr>{rows}</table></body>"
    )
    assert convert_html(page).text == (
        "# Soups\n\nThere are three soups:\n\n* Pea\n* Bean\n* Leek\n\n## Letters\n\n"
        "| Letter |\n| --- |\n| A |\n| B |\n| C |\n"
    )


def test_a_table_of_contents_of_the_page_itself_is_removed() -> None:
    items = "".join(f'<li><a href="#{name}">{name}</a></li>' for name in ("a", "b", "c"))
    prose = "Boil it for an hour until everything is soft."
    page = f"<body><h1>Soups</h1><p>Contents:</p><ul>{items}</ul><p>{prose}</p></body>"
    assert convert_html(page).text == f"# Soups\n\nContents:\n\n{prose}\n"


def read_body(body: str) -> str:
    return convert_html(f"<body><h1>Soup</h1><p>Boil it.</p>{body}</body>").text.removeprefix(
        "# Soup\n\nBoil it.\n\n"
    )


def test_bars_lists_and_paragraphs_in_cells_stay_in_their_cells() -> None:
    table = (
        "<table><tr><th>Key</th><th>Values</th></tr><tr><td>a|b</td>"
        "<td><ul><li>one</li><li>two</li></ul></td></tr>"
        "<tr><td><code>x|y</code></td><td><p>first</p><p>second</p></td></tr></table>"
    )
    assert read_body(table) == (
        "| Key | Values |\n| --- | --- |\n| a\\|b | one; two |\n| `x\\|y` | first second |\n"
    )


def test_spans_are_filled_and_heads_of_two_rows_joined() -> None:
    table = (
        "<table><thead><tr><th rowspan=2>Kind</th><th colspan=2>Seconds</th></tr>"
        "<tr><th>least</th><th>most</th></tr></thead><tbody>"
        "<tr><td rowspan=2>beat</td><td>5</td><td>7</td></tr><tr><td colspan=2>never</td></tr>"
        "</tbody></table>"
    )
    assert read_body(table) == (
        "| Kind | Seconds least | Seconds most |\n| --- | --- | --- |\n"
        "| beat | 5 | 7 |\n| beat | never |  |\n"
    )


def test_a_table_inside_a_table_stays_a_table() -> None:
    inner = "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
    table = f"<table><tr><th>Name</th><th>Data</th></tr><tr><td>x</td><td>{inner}</td></tr></table>"
    assert read_body(table) == ("Name:\n\nx\n\nData:\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n")


def test_a_table_that_arranges_the_page_is_no_table() -> None:
    page = (
        "<table><tr><td><a href=a>A</a> <a href=b>B</a> <a href=c>C</a></td>"
        "<td><h1>Soup</h1><p>Boil it.</p><p>Wait for an hour until everything is soft.</p></td>"
        "</tr></table>"
    )
    assert convert_html(page).text == (
        "# Soup\n\nBoil it.\n\nWait for an hour until everything is soft.\n"
    )


@pytest.mark.parametrize(
    "listing",
    [
        '<table class="highlighttable"><tr><td class="linenos"><pre>1\n2</pre></td>'
        '<td class="code"><pre>a = 1\nb = 2</pre></td></tr></table>',
        '<table class="rouge-table"><tr><td class="gutter gl"><pre>1\n2\n</pre></td>'
        '<td class="code"><pre>a = 1\nb = 2\n</pre></td></tr></table>',
        '<table class="highlight"><tr><td class="blob-num" data-line-number="1"></td>'
        '<td class="blob-code">a = 1</td></tr><tr><td class="blob-num" data-line-number="2"></td>'
        '<td class="blob-code">b = 2</td></tr></table>',
        '<div class="syntaxhighlighter"><table><tr><td class="gutter"><div class="line">1</div>'
        '<div class="line">2</div></td><td class="code"><div class="line">a = 1</div>'
        '<div class="line">b = 2</div></td></tr></table></div>',
        '<pre><span class="lineno">1</span>a = 1\n<span class="lineno">2</span>b = 2</pre>',
        "<pre><code><span>a = 1<br></span><span>b = 2<br></span></code></pre>",
        "<pre><div>a = 1</div><div>b = 2</div></pre>",
        '<pre class="prettyprint"><ol class="linenums"><li>a = 1</li><li>b = 2</li></ol></pre>',
    ],
)
def test_listings_keep_their_lines_and_lose_their_numbers(listing: str) -> None:
    assert read_body(listing) == "```\na = 1\nb = 2\n```\n"


def test_a_listing_with_fences_is_fenced_longer() -> None:
    assert read_body("<pre>```\nx\n```</pre>") == "````\n```\nx\n```\n````\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("10<sup>6</sup>", "10^6"),
        ("x<sup>n+1</sup>", "x^(n+1)"),
        ("10<sup>-3</sup>", "10^-3"),
        ("the 1<sup>st</sup>", "the 1st"),
        ('seen<sup><a href="#n1">[1]</a></sup>', "seen[1]"),
        ("H<sub>2</sub>O", "H2O"),
        ("x<sub>i</sub>", "x_i"),
    ],
)
def test_powers_and_indices_do_not_run_into_their_numbers(html: str, text: str) -> None:
    assert read_body(f"<p>It is {html} here.</p>") == f"It is {text} here.\n"


def test_targets_outside_the_site_are_listed_at_the_end_of_their_section() -> None:
    page = (
        '<h1>A</h1><p>See <a href="https://a.org/x">the guide</a>, <a href="/b">b</a>, '
        '<a href="http://c.org/">c.org</a>, <a href="mailto:x@d.org">us</a>.</p>'
        '<section><h2>B</h2><p><a href="https://a.org/x">Again</a></p></section>'
    )
    document = convert_html(page)
    assert document.text == (
        "# A\n\nSee the guide, b, c.org, us.\n\nLinks:\n\n* the guide: https://a.org/x\n"
        "* us: mailto:x@d.org\n\n## B\n\nAgain\n\nLinks:\n\n* Again: https://a.org/x\n"
    )
    assert document.left_out == {"targets of links inside the site": 2}


def test_what_is_left_out_is_counted_by_kind() -> None:
    page = (
        "<body><nav>Home</nav><h1>Soup</h1><script>1234</script><p>Boil it.</p>"
        '<img alt="a pot"><form><button>Go</button></form><footer>Imprint</footer></body>'
    )
    assert convert_html(page).left_out == {
        "navigation": 4,
        "scripts and styles": 4,
        "forms and buttons": 2,
        "heads and footers": 7,
        "pictures": 5,
    }


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
