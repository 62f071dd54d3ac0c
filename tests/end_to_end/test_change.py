"""Documents that are added, edited, moved and deleted: the files after them are those of a build from nothing, at the cost of the change."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.ingest import FilesSource
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.report import Check, Report
from pipelines.stages import chunk, embed, ingest, redact

ROOT = Path(__file__).parents[2]
MADE = ("converted.parquet", "rejections.parquet", "documents.parquet", "chunks.parquet", "vectors.parquet")
FIRST = {
    "soup.md": "# Soup\n\nBoil the water, add salt, then the vegetables.\n\n## Leek\n\nCut the leek into rings and wash them twice.\n\nWrite to cook@kitchen.dev.\n",
    "bread.html": "<html><body><nav><a href='/'>Home</a></nav><h1>Bread</h1><p>Knead the dough and let it rest for an hour.</p></body></html>",
    "old/knives.md": "# Knives\n\nA sharp knife is safer than a blunt one, since it does not slip.\n",
    "gone.md": "# Fish\n\nFry the fish in butter until its skin is crisp and golden.\n",
    "stock.csv": "item,count\npots,3\npans,2\n",
}


def written(documents: dict[str, str]) -> None:
    """These documents and no others below data/raw/book."""
    shutil.rmtree("data/raw/book", ignore_errors=True)
    for name, text in documents.items():
        Path("data/raw/book", name).parent.mkdir(parents=True, exist_ok=True)
        Path("data/raw/book", name).write_text(text)


def built(values: params.Params) -> tuple[dict[str, str], dict[str, Any]]:
    """Run the stages from the sources to the vectors; the digests of what they made, and their counts."""
    source = FilesSource(kind="files", name="book", path="data/raw/book", globs=["**/*"])
    config = values.ingest.model_copy(update={"sources": [source], "num_workers": 1})
    made, reports = {name.split(".")[0]: Path(f"data/{name}") for name in MADE}, {name: Path(f"{name}.json") for name in ("ingestion", "redaction", "validation", "embedding")}
    Path("lock.txt").write_text("")
    files.write_json(reports["validation"], Report.of([Check(name="any", passed=True, observed="", expected="")]))
    ingest.run(config, Path("data/raw"), Path("lock.txt"), made["converted"], made["rejections"], reports["ingestion"])
    redact.run(values.redact, made["converted"], made["documents"], reports["redaction"])
    chunk.run(values.chunk, values.encoder, made["documents"], reports["validation"], made["chunks"])
    embed.run(values.embed, values.encoder, made["chunks"], made["vectors"], reports["embedding"])
    counts = {"read": json.loads(reports["ingestion"].read_text())["read"], "embedded": json.loads(reports["embedding"].read_text())["made"]}
    return {name: files.digest(path) for name, path in made.items()}, counts


def test_additions_edits_moves_and_deletions_end_up_as_a_build_from_nothing_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = params.load(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    written(FIRST)
    first, counts = built(values)
    assert counts == {"read": 5, "embedded": 5}

    again, counts = built(values)
    assert (again, counts) == (first, {"read": 0, "embedded": 0})

    second = {name: text for name, text in FIRST.items() if name != "gone.md"}
    second["new/knives.md"] = second.pop("old/knives.md")
    second["soup.md"] = FIRST["soup.md"].replace("wash them twice", "wash them three times")
    second["salad.md"] = "# Salad\n\nWash the leaves and dry them before the dressing goes on.\n"
    written(second)
    changed, counts = built(values)
    assert counts == {"read": 2, "embedded": 2}
    uris = {row["uri"] for row in files.read(Path("data/chunks.parquet"), CHUNKS)}
    assert uris == {f"book/{name}" for name in second}

    shutil.rmtree(".state")
    assert built(values) == (changed, {"read": 5, "embedded": 5})
