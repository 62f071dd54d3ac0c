import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import files
from pipelines.config.survey import SurveyConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.left_out import LEFT_OUT
from pipelines.contracts.report import Check, Report
from pipelines.contracts.vectors import vectors as vectors_schema
from pipelines.stages import survey

ENCODER = {
    "encoder_model": "m",
    "encoder_revision": "",
    "encoder_digest": "d",
    "precision": "fp32",
    "dimensions": "3",
}
DOCUMENT: dict[str, Any] = {
    "title": "T",
    "text": "x" * 500,
    "sections": [],
    "pages": [],
    "media_type": "text/plain",
    "digest": "",
    "content_digest": "",
    "language": "en",
    "aliases": [],
    "readers": ["everyone"],
}
CHUNK: dict[str, Any] = {
    "title": "T",
    "headings": ["Part"],
    "table_head": None,
    "start": 0,
    "end": 1,
    "pages": [],
    "readers": ["everyone"],
    "num_tokens": 1,
    "digest": "",
}
REJECTION = {
    "uri": "book/z.pdf",
    "source": "book",
    "stage": "convert",
    "reason": "has no text",
    "digest": None,
}
FAILED_CHECK = Check(
    name="language",
    passed=False,
    observed="1 of 2 rows break it",
    expected="en",
    examples=["site/<c>"],
)


LOSSES = [
    {
        "uri": "book/a",
        "source": "book",
        "num_kept": 300,
        "kind": "pictures",
        "num_left_out": 9000,
    },
    {
        "uri": "site/<c>",
        "source": "site",
        "num_kept": 2000,
        "kind": "navigation",
        "num_left_out": 500,
    },
]


def write_passages(inputs: survey.Inputs) -> None:
    """Thirty passages of each of two documents, and vectors that keep the two apart."""
    dice = np.random.default_rng(7)
    centers = {("a", "book/a"): [1.0, 0.0, 0.0], ("c", "site/<c>"): [0.0, 1.0, 0.0]}
    chunks = []
    vectors = []
    for (doc_id, uri), center in centers.items():
        for number in range(30):
            chunk_id = f"{doc_id}-{number}"
            text = f"passage {number} of <{doc_id}>"
            facts = {"chunk_id": chunk_id, "doc_id": doc_id, "uri": uri, "text": text}
            chunks.append(CHUNK | facts)
            vector = np.array(center) + dice.normal(0, 0.05, 3)
            vectors.append({"chunk_id": chunk_id, "vector": vector.astype(np.float32).tolist()})
    files.write(inputs.chunks, CHUNKS, chunks)
    files.write(inputs.vectors, vectors_schema(3).with_metadata(ENCODER), vectors)


def write_page(folder: Path, max_points: int = 60) -> str:
    """The page of two documents, a rejection, an alias and replacements of personal data."""
    inputs = survey.Inputs(
        documents=folder / "documents.parquet",
        rejections=folder / "rejections.parquet",
        left_out=folder / "left_out.parquet",
        chunks=folder / "chunks.parquet",
        vectors=folder / "vectors.parquet",
        validation=folder / "validation.json",
        redaction=folder / "redaction.json",
    )
    book = {"doc_id": "a", "uri": "book/a", "source": "book", "aliases": ["book/b"]}
    site = {"doc_id": "c", "uri": "site/<c>", "source": "site", "language": "de"}
    long_text = {"text": "y" * 2000}
    documents = [DOCUMENT | book, DOCUMENT | site | long_text]
    files.write(inputs.documents, DOCUMENTS, documents)
    files.write(inputs.rejections, REJECTIONS, [REJECTION])
    files.write(inputs.left_out, LEFT_OUT, LOSSES)
    write_passages(inputs)
    files.write_json(inputs.validation, Report.of([FAILED_CHECK]))
    inputs.redaction.write_text(json.dumps({"by_source": {"book": {"EMAIL_ADDRESS": 4}}}))
    outputs = survey.Outputs(folder / "corpus.html")
    survey.run(SurveyConfig(max_points=max_points, seed=7), inputs, outputs)
    return outputs.corpus.read_text()


def test_the_page_shows_counts_lengths_languages_rejections_duplicates_redactions_and_checks(
    tmp_path: Path,
) -> None:
    page = write_page(tmp_path)
    words = " ".join(page.split())
    assert (
        "2 documents, 60 passages, 1 near-duplicates left out, 1 rejected, "
        "4 occurrences of personal data replaced"
    ) in words
    compact_page = re.sub(r"(?<=>)\s+(?=<)", "", page)
    for content in (
        "<td>book/z.pdf</td><td>convert</td><td>has no text</td>",
        "<td>book/a</td><td>book/b</td>",
        '<td>pictures</td><td class="number">1</td><td class="number">9,000</td>',
        '<td>site/&lt;c&gt;</td><td class="number">20.0%</td><td>navigation 500</td>',
        '<td>book/a</td><td class="number">0.0%</td><td>pictures 9,000</td>',
        "EMAIL_ADDRESS",
        "1 of 2 rows break it",
        "under 1,000",
        "under 3,000",
        ">de<",
        ">site<",
    ):
        assert content in compact_page, content


def test_the_map_has_as_many_points_as_allowed_each_with_its_text(tmp_path: Path) -> None:
    page = write_page(tmp_path, max_points=55)
    assert page.count("<circle") == 55
    assert "55 of 60, sampled at random" in page
    assert "<title>book/a &gt; Part\npassage" in page


def test_the_page_needs_no_network_and_names_of_files_are_no_markup(tmp_path: Path) -> None:
    page = write_page(tmp_path)
    assert "http" not in page
    assert "<script" not in page
    assert "<c>" not in page
    assert "&lt;c&gt;" in page


def test_the_same_corpus_gives_the_same_page(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    assert write_page(tmp_path) == write_page(tmp_path / "again")


@pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed")
def test_a_real_browser_draws_the_map(tmp_path: Path) -> None:
    write_page(tmp_path)
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}/profile",
        "--window-size=1200,900",
        f"--screenshot={tmp_path}/page.png",
        f"file://{tmp_path}/corpus.html",
    ]
    browser = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert browser.returncode == 0, browser.stderr[-500:]
    from PIL import Image

    with Image.open(tmp_path / "page.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    red, green, blue = pixels.T
    is_blue = (red >= 20) & (red < 160) & (green >= 80) & (green < 190) & (blue >= 220)
    is_orange = (red >= 200) & (green >= 100) & (green < 200) & (blue < 130)
    assert is_blue.any()
    assert is_orange.any()
