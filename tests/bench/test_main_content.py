"""Main-content extractors on the labelled pages of 48 generators.

    uv pip install trafilatura readability-lxml justext lxml_html_clean  # in another environment
    pytest tests/bench/test_main_content.py -s

Mean word recall and precision, the lowest of both, and milliseconds a page.
"""

import time
from collections.abc import Callable
from statistics import fmean

import pytest
from bs4 import BeautifulSoup

from pipelines.corpus.html import convert_html
from tests.corpus.labelled_pages import compare, read_pages


def read_ours(html: str) -> str:
    return convert_html(html).text


def read_trafilatura(html: str) -> str:
    trafilatura = pytest.importorskip("trafilatura")
    text = trafilatura.extract(
        html,
        output_format="markdown",
        favor_recall=True,
        include_tables=True,
        include_comments=False,
    )
    return text or ""


def read_trafilatura_precise(html: str) -> str:
    trafilatura = pytest.importorskip("trafilatura")
    return trafilatura.extract(html, output_format="markdown", favor_precision=True) or ""


def read_readability(html: str) -> str:
    readability = pytest.importorskip("readability")
    document = readability.Document(html)
    summary = BeautifulSoup(document.summary(), "lxml").get_text(" ")
    return f"{document.short_title()} {summary}"


def read_justext(html: str) -> str:
    justext = pytest.importorskip("justext")
    stop_words = justext.get_stoplist("English")
    # By default a paragraph has to have 200 characters; those of these pages have 150.
    paragraphs = justext.justext(html.encode(), stop_words, length_low=30, length_high=100)
    return "\n".join(paragraph.text for paragraph in paragraphs if not paragraph.is_boilerplate)


def read_all_text(html: str) -> str:
    soup = BeautifulSoup(html, "lxml")
    for element in soup(["script", "style"]):
        element.decompose()
    return soup.get_text(" ")


@pytest.mark.parametrize(
    "extract",
    [
        read_ours,
        read_trafilatura,
        read_trafilatura_precise,
        read_readability,
        read_justext,
        read_all_text,
    ],
)
def test_main_content_of_labelled_pages(extract: Callable[[str], str]) -> None:
    pages = read_pages()
    start = time.perf_counter()
    texts = [extract(page.html) for page in pages]
    milliseconds = (time.perf_counter() - start) * 1000 / len(pages)
    scores = [compare(page.words, text) for page, text in zip(pages, texts, strict=True)]
    recalls = [score.recall for score in scores]
    precisions = [score.precision for score in scores]
    print(
        f"\n{extract.__name__:26} recall {fmean(recalls):.3f} (lowest {min(recalls):.3f}), "
        f"precision {fmean(precisions):.3f} (lowest {min(precisions):.3f}), {milliseconds:.1f} ms"
    )
    assert len(scores) >= 40
