"""Documents that are added, edited, moved and deleted, at the cost of the change.

The files after the change are those of a build from nothing.
"""

import shutil
from pathlib import Path

import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.ingest import IngestConfig
from pipelines.contracts.chunks import CHUNKS
from tests.knowledge import ARTIFACTS, BOOK, Build, build_vectors

ROOT = Path(__file__).parents[2]
FIRST = {
    "soup.md": (
        "# Soup\n\nBoil the water, add salt, then the vegetables.\n\n"
        "## Leek\n\nCut the leek into rings and wash them twice.\n\n"
        "Write to cook@kitchen.dev.\n"
    ),
    "bread.html": (
        "<html><body><nav><a href='/'>Home</a></nav><h1>Bread</h1>"
        "<p>Knead the dough and let it rest for an hour.</p></body></html>"
    ),
    "old/knives.md": (
        "# Knives\n\nA sharp knife is safer than a blunt one, since it does not slip.\n"
    ),
    "gone.md": "# Fish\n\nFry the fish in butter until its skin is crisp and golden.\n",
    "stock.csv": "item,count\npots,3\npans,2\n",
}


def replace_documents(texts: dict[str, str]) -> None:
    """Leave only these documents below data/raw/book."""
    folder = Path("data/raw/book")
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def count_work(build: Build) -> dict[str, int]:
    return {
        "read": build.reports["ingestion"]["read"],
        "embedded": build.reports["embedding"]["made"],
    }


def test_additions_edits_moves_and_deletions_end_up_as_a_build_from_nothing_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = params.load(ROOT / "params.yaml")
    sources = values.section(IngestConfig).model_copy(update={"sources": [BOOK], "num_workers": 1})
    monkeypatch.chdir(tmp_path)
    replace_documents(FIRST)
    first = build_vectors(values, sources)
    assert count_work(first) == {"read": 5, "embedded": 5}

    again = build_vectors(values, sources)
    assert again.digests == first.digests
    assert count_work(again) == {"read": 0, "embedded": 0}

    second = {name: text for name, text in FIRST.items() if name != "gone.md"}
    second["new/knives.md"] = second.pop("old/knives.md")
    second["soup.md"] = FIRST["soup.md"].replace("wash them twice", "wash them three times")
    second["salad.md"] = "# Salad\n\nWash the leaves and dry them before the dressing goes on.\n"
    replace_documents(second)
    change = build_vectors(values, sources)
    assert count_work(change) == {"read": 2, "embedded": 2}
    uris = {row["uri"] for row in files.read(ARTIFACTS["chunks"], CHUNKS)}
    assert uris == {f"book/{name}" for name in second}

    shutil.rmtree(".state")
    from_nothing = build_vectors(values, sources)
    assert from_nothing.digests == change.digests
    assert count_work(from_nothing) == {"read": 5, "embedded": 5}
