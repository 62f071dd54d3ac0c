"""Whatever stands in a page of HTML, Markdown or reStructuredText, its words come out."""

import re
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corpus.html import convert_html
from pipelines.corpus.markdown import convert_markdown
from pipelines.corpus.rst import convert_rst

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


HTML_BLOCKS = st.one_of(
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
