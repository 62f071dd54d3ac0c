import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import files, survey
from pipelines.config.survey import SurveyConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.report import Check, Report
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.stages.survey import run

FACTS = {"encoder_model": "m", "encoder_revision": "", "encoder_digest": "d", "precision": "fp32", "dimensions": "3"}


def written(folder: Path, max_points: int = 50) -> str:
    """The page of two sources of thirty passages each, a rejection, an alias and finds of personal data."""
    row: dict[str, Any] = {"title": "T", "text": "x" * 500, "sections": [], "pages": [], "media_type": "text/plain", "digest": "", "content_digest": "", "language": "en", "aliases": []}
    documents = [{**row, "doc_id": "a", "uri": "book/a", "source": "book", "aliases": ["book/b"]}, {**row, "doc_id": "c", "uri": "site/<c>", "source": "site", "language": "de", "text": "y" * 2000}]
    files.write(folder / "documents.parquet", DOCUMENTS, documents)
    files.write(folder / "rejections.parquet", REJECTIONS, [{"uri": "book/z.pdf", "source": "book", "stage": "convert", "reason": "has no text", "digest": None}])
    chunk: dict[str, Any] = {"title": "T", "headings": ["Part"], "start": 0, "end": 1, "pages": [], "num_tokens": 1, "digest": ""}
    chunks = [{**chunk, "chunk_id": f"{doc}-{number}", "doc_id": doc, "uri": uri, "text": f"passage {number} of <{doc}>"} for doc, uri in (("a", "book/a"), ("c", "site/<c>")) for number in range(30)]
    files.write(folder / "chunks.parquet", CHUNKS, chunks)
    dice = np.random.default_rng(7)
    centers = {"a": np.array([1.0, 0.0, 0.0]), "c": np.array([0.0, 1.0, 0.0])}
    rows = [{"chunk_id": row["chunk_id"], "vector": (centers[row["doc_id"]] + dice.normal(0, 0.05, 3)).astype(np.float32).tolist()} for row in chunks]
    files.write(folder / "vectors.parquet", schema_of(3).with_metadata(FACTS), rows)
    files.write_json(folder / "validation.json", Report.of([Check(name="language", passed=False, observed="1 of 2 rows break it", expected="en", examples=["site/<c>"])]))
    (folder / "redaction.json").write_text(json.dumps({"by_source": {"book": {"EMAIL_ADDRESS": 4}}}))
    paths = [folder / name for name in ("documents.parquet", "rejections.parquet", "chunks.parquet", "vectors.parquet", "validation.json", "redaction.json", "corpus.html")]
    run(SurveyConfig(max_points=max_points, seed=7), *paths)
    return (folder / "corpus.html").read_text()


def test_the_page_tells_counts_lengths_languages_rejections_duplicates_redactions_and_checks(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "2 documents, 60 passages, 1 near-duplicates left out, 1 rejected, 4 finds of personal data replaced" in page
    for told in ("<td>book/z.pdf</td><td>convert</td><td>has no text</td>", "<td>book/a</td><td>book/b</td>", "EMAIL_ADDRESS", "1 of 2 rows break it", "under 1,000", "under 3,000", ">de<", ">site<"):
        assert told in page, told


def test_the_map_has_as_many_points_as_allowed_each_with_its_text_and_its_sources_apart(tmp_path: Path) -> None:
    page = written(tmp_path, max_points=55)
    assert page.count("<circle") == 55
    assert "55 of 60, drawn by lot" in page
    assert "<title>book/a &gt; Part\npassage" in page
    vectors = np.vstack([np.random.default_rng(1).normal(center, 0.05, (40, 3)) for center in ([1, 0, 0], [0, 1, 0])]).astype(np.float32)
    where = survey.places(vectors, 7)
    within = np.linalg.norm(where[:40] - where[:40].mean(axis=0), axis=1).mean()
    assert np.linalg.norm(where[:40].mean(axis=0) - where[40:].mean(axis=0)) > 2 * within


def test_the_page_needs_no_network_and_names_of_files_are_no_markup(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "http" not in page
    assert "<script" not in page
    assert "<c>" not in page
    assert "&lt;c&gt;" in page


def test_the_same_corpus_gives_the_same_page_and_few_passages_are_no_problem(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    assert written(tmp_path) == written(tmp_path / "again")
    assert survey.places(np.ones((1, 3), dtype=np.float32), 7).shape == (1, 2)
    assert survey.places(np.ones((12, 3), dtype=np.float32), 7).shape == (12, 2)


@pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed")
def test_a_real_browser_draws_the_map(tmp_path: Path) -> None:
    written(tmp_path)
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr[-500:]
    from PIL import Image

    with Image.open(tmp_path / "page.png") as image:
        colors = {tuple(color) for color in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()}
    blue, orange = [
        any(red in reds and green in greens and blue_ in blues for red, green, blue_ in colors)
        for reds, greens, blues in ((range(20, 160), range(80, 190), range(220, 256)), (range(200, 256), range(100, 200), range(130)))
    ]
    assert blue
    assert orange
