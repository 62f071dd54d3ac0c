"""The main content of pages as 48 generators write them."""

from statistics import fmean

from pipelines.corpus.html import convert_html
from tests.corpus.labelled_pages import compare, read_pages


def test_main_content_of_every_generators_page_is_read_and_little_else() -> None:
    pages = read_pages()
    scores = {page.name: compare(page.words, convert_html(page.html).text) for page in pages}
    assert len(scores) >= 40
    lost = {name: score.recall for name, score in scores.items() if score.recall < 0.98}
    assert lost == {}
    assert fmean(score.precision for score in scores.values()) >= 0.95
    assert min(score.precision for score in scores.values()) >= 0.7


def test_the_labels_tell_content_from_the_rest_of_a_page() -> None:
    pages = {page.name: page for page in read_pages()}
    words = pages["sphinx_alabaster"].words
    assert words["rotation"] > 0
    assert words["alabaster"] == 0
    assert "<!--content-->" not in pages["sphinx_alabaster"].html
