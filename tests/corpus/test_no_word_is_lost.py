"""Whatever stands in a page of HTML, Markdown or reStructuredText, its words come out."""

import re
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corpus.html import convert_html
from pipelines.corpus.markdown import convert_markdown
from pipelines.corpus.rst import convert_rst
from pipelines.corpus.word import convert_docx
from tests.corpus.word_files import cell, make_docx, paragraph, row, run, table

TEXTS = re.compile(r"<w:t [^>]*>([^<]*)<")
WORDS = st.text("abcdefghij", min_size=3, max_size=8)
LINES = st.lists(WORDS, min_size=2, max_size=12).map(" ".join)
# Names that pages give to anything.
NAMES = st.sampled_from(
    [
        "share",
        "menu",
        "comments",
        "pagination",
        "has-sidebar",
        "section",
        "content",
        "header",
        "toc",
    ]
)
MANY_LINES = st.lists(LINES, min_size=1, max_size=4)


def html_list(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def html_table(lines: list[str]) -> str:
    rows = "".join(f"<tr><td>{line}</td><td>{line}</td></tr>" for line in lines)
    return f"<table><tr><th>first</th><th>second</th></tr>{rows}</table>"


def html_section(name: str, lines: list[str]) -> str:
    paragraphs = "".join(f"<p>{line}</p>" for line in lines)
    return f'<section id="{name}"><h2>{name}</h2>{paragraphs}</section>'


MARKS = st.sampled_from(["b", "em", "code", "kbd", "mark", "small", "sup", "del", "a"])


def html_mark(name: str, line: str) -> str:
    target = " href='https://soup.example/'" if name == "a" else ""
    return f" <{name}{target}>{line}</{name}> "


HTML_INLINE = st.one_of(
    LINES,
    st.builds(html_mark, MARKS, LINES),
    st.builds(lambda name, line: f" <span class='{name}'>{line}</span> ", NAMES, LINES),
)
HTML_PARAGRAPHS = st.lists(HTML_INLINE, min_size=1, max_size=5).map(
    lambda parts: f"<p>abc def {' '.join(parts)} ghi.</p>"
)


def html_box(name: str, line: str, inner: str) -> str:
    return f"<div class='{name}'><p class='title'>{line}</p>{inner}</div>"


def html_frame(name: str, inner: str) -> str:
    return f"<{name}>{inner}</{name}>"


BOX_NAMES = st.sampled_from(["admonition note", "alert alert-info", "row", "tab-pane", "warning"])
FRAME_NAMES = st.sampled_from(["blockquote", "article", "center", "x-panel", "div", "section"])


def nest_html(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Elements around others, as pages nest them."""
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(
            lambda items: "<ol>" + "".join(f"<li>{item}</li>" for item in items) + "</ol>"
        ),
        st.builds(lambda line, item: f"<dl><dt>{line}</dt><dd>{item}</dd></dl>", LINES, inner),
        st.builds(
            lambda line, item: f"<details><summary>{line}</summary>{item}</details>", LINES, inner
        ),
        st.builds(html_box, BOX_NAMES, LINES, inner),
        st.builds(html_frame, FRAME_NAMES, inner),
        inner.map(lambda cell: f"<table><tr><th>abc</th></tr><tr><td>{cell}</td></tr></table>"),
    )


HTML_BLOCKS = st.one_of(
    st.recursive(HTML_PARAGRAPHS, nest_html, max_leaves=5),
    LINES.map(lambda line: f"<p>{line}</p>"),
    LINES.map(lambda line: f"<aside class='note'>{line}</aside>"),
    LINES.map(lambda line: f"<blockquote><p>{line}</p></blockquote>"),
    LINES.map(lambda line: f"<details><summary>{line}</summary><p>{line}</p></details>"),
    MANY_LINES.map(html_list),
    MANY_LINES.map(html_table),
    MANY_LINES.map(lambda lines: "<pre>" + "\n".join(lines) + "</pre>"),
    MANY_LINES.map(lambda lines: f"<dl><dt>{lines[0]}</dt><dd>{' '.join(lines)}</dd></dl>"),
    st.builds(html_section, NAMES, MANY_LINES),
)


def rst_directive(name: str, lines: list[str]) -> str:
    return f".. {name}::\n\n" + "\n\n".join(f"   {line}" for line in lines)


DIRECTIVES = st.sampled_from(
    ["note", "warning", "danger", "tabs", "card", "seealso", "code-block", "wire-box", "only"]
)
RST_BLOCKS = st.one_of(
    LINES,
    MANY_LINES.map(lambda lines: "\n".join(f"* {line}" for line in lines)),
    MANY_LINES.map(lambda lines: f"{lines[0]}\n   " + "\n   ".join(lines)),
    st.builds(rst_directive, DIRECTIVES, MANY_LINES),
    st.builds(lambda words, line: f".. option:: --{words}\n\n   {line}", WORDS, LINES),
    st.builds(lambda words, line: f".. deprecated:: 1.2 {words}\n   {line}", WORDS, LINES),
    st.builds(lambda words: f"See :ref:`{words}` and :func:`{words}`.", WORDS),
)
MARKDOWN_BLOCKS = st.one_of(
    LINES,
    LINES.map(lambda line: f"> {line}"),
    MANY_LINES.map(lambda lines: "\n".join(f"- {line}" for line in lines)),
    MANY_LINES.map(lambda lines: "```\n" + "\n".join(lines) + "\n```"),
)


DOCX_FRAMES = st.sampled_from(
    [
        "{}",
        "<w:ins w:id='1'>{}</w:ins>",
        "<w:hyperlink w:anchor='x'>{}</w:hyperlink>",
        "<w:sdt><w:sdtContent>{}</w:sdtContent></w:sdt>",
        "<w:fldSimple w:instr='REF x'>{}</w:fldSimple>",
        "<w:customXml w:element='x'>{}</w:customXml>",
        "<mc:AlternateContent><mc:Choice Requires='x'>{0}</mc:Choice><mc:Fallback>{0}"
        "</mc:Fallback></mc:AlternateContent>",
    ]
)
DOCX_RUNS = st.builds(lambda frame, line: frame.format(run(f"{line} ")), DOCX_FRAMES, LINES)
DOCX_PARAGRAPHS = st.builds(
    lambda runs, style: paragraph(*runs, style=style),
    st.lists(DOCX_RUNS, min_size=1, max_size=4),
    st.sampled_from(["", "Heading1", "ListBullet", "Chapter", "Unknown"]),
)


def nest_docx(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Tables and controls around paragraphs and tables."""
    cells = st.lists(inner.map(lambda block: cell(block + paragraph(""))), min_size=1, max_size=3)
    return st.one_of(
        cells.map(lambda members: table(row(*members), row(*members))),
        inner.map(lambda block: f"<w:sdt><w:sdtContent>{block}</w:sdtContent></w:sdt>"),
    )


DOCX_BLOCKS = st.recursive(DOCX_PARAGRAPHS, nest_docx, max_leaves=5)


def count_words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[a-j]{3,}", text))


@settings(max_examples=150, deadline=None)
@given(st.lists(HTML_BLOCKS, min_size=1, max_size=8))
def test_no_word_of_a_page_is_lost(blocks: list[str]) -> None:
    body = "".join(blocks)
    visible = re.sub(r"<[^>]*>", " ", body)
    page = f"<html><body><nav>menu</nav><h1>Title</h1>{body}</body></html>"
    assert count_words(visible) - count_words(convert_html(page).text) == Counter()


@settings(max_examples=150, deadline=None)
@given(st.lists(RST_BLOCKS, min_size=1, max_size=8))
def test_no_word_of_restructuredtext_is_lost(blocks: list[str]) -> None:
    names = r"(?m)^\.\. [a-z-]+::|:(?:ref|func):"
    source = "\n\n".join(blocks) + "\n"
    lost = count_words(re.sub(names, "", source)) - count_words(convert_rst(source).text)
    assert lost == Counter()


@settings(max_examples=100, deadline=None)
@given(st.lists(MARKDOWN_BLOCKS, min_size=1, max_size=8), LINES)
def test_no_word_of_markdown_is_lost(blocks: list[str], title: str) -> None:
    source = "\n\n".join(blocks)
    text = convert_markdown(f"---\ntitle: {title}\n---\n{source}\n").text
    assert count_words(source) + count_words(title) - count_words(text) == Counter()


@settings(max_examples=100, deadline=None)
@given(st.lists(DOCX_BLOCKS, min_size=1, max_size=6))
def test_no_word_of_a_word_file_is_lost(blocks: list[str]) -> None:
    body = "".join(blocks)
    visible = re.sub(r"<mc:Fallback>.*?</mc:Fallback>", "", body)
    lost = count_words(" ".join(TEXTS.findall(visible))) - count_words(
        convert_docx(make_docx(body)).text
    )
    assert lost == Counter()
