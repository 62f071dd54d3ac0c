"""What a change of the corpus costs against a full build: three real dates of one documentation tree, and a large corpus with one changed page.

.venv/bin/python -m pytest tests/bench/test_change_cost.py -s -o norecursedirs=
CORPUS_SIZES=1000,3000,10000 .venv/bin/python -m pytest tests/bench/test_change_cost.py -s -o norecursedirs= -k large
"""

import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.ingest import FilesSource
from pipelines.contracts.receipt import Receipt
from pipelines.vectorstore import aliases, server

ROOT = Path(__file__).parents[2]
DATES = ROOT.parent / "shared/data/docs/kubeflow_md"
SOURCES = [FilesSource(kind="files", name="docs", path="data/raw/docs", globs=["**/*.md"])]


def build(values: params.Params) -> dict[str, Any]:
    """Run the stages from the sources to the index in the current folder; counts and seconds of each."""
    from pipelines.stages import chunk, embed, index, ingest, redact, validate

    ingesting = values.ingest.model_copy(update={"sources": SOURCES, "max_rejected_share": 0.2})
    checking = values.validate_.model_copy(update={"max_characters": 10_000_000, "max_duplicate_share": 9.0, "max_untitled_share": 1.0, "min_characters": 1, "min_language_share": 0.5})
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], None]) -> None:
        began = time.monotonic()
        work()
        seconds[name] = round(time.monotonic() - began, 1)

    paths = {name: Path(f"data/{name}") for name in ("converted.parquet", "documents.parquet", "rejections.parquet", "chunks.parquet", "vectors.parquet", "index.json")}
    reports = {name: Path(f"data/{name}.json") for name in ("ingestion", "redaction", "validation", "embedding")}
    Path("lock.txt").write_text("")
    Path("releases.jsonl").write_text("")
    timed("ingest", lambda: ingest.run(ingesting, Path("data/raw"), Path("lock.txt"), paths["converted.parquet"], paths["rejections.parquet"], reports["ingestion"]))
    timed("redact", lambda: redact.run(values.redact, paths["converted.parquet"], paths["documents.parquet"], reports["redaction"]))
    timed(
        "validate",
        lambda: validate.run(checking, ingesting, values.redact, paths["documents.parquet"], paths["rejections.parquet"], Path("releases.jsonl"), reports["validation"], Path("data/docs")),
    )
    timed("chunk", lambda: chunk.run(values.chunk, values.encoder, paths["documents.parquet"], reports["validation"], paths["chunks.parquet"]))
    timed("embed", lambda: embed.run(values.embed, values.encoder, paths["chunks.parquet"], paths["vectors.parquet"], reports["embedding"]))
    timed("index", lambda: index.run(values.index, paths["chunks.parquet"], paths["vectors.parquet"], paths["index.json"]))
    counts = {name: json.loads(path.read_text()) for name, path in reports.items() if name != "validation"}
    told = {
        "documents": counts["ingestion"]["documents"],
        "read": counts["ingestion"]["read"],
        "redacted": counts["redaction"]["redacted"],
        "chunks": counts["embedding"]["chunks"],
        "embedded": counts["embedding"]["made"],
    }
    return told | {"seconds": seconds, "total": round(sum(seconds.values()), 1), "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


def objects() -> dict[str, tuple[Any, ...]]:
    """Every object of the collection that the receipt names: chunk id -> uri, text and vector."""
    receipt = files.read_json(Path("data/index.json"), Receipt)
    with server.session() as client:
        held = client.collections.use(receipt.collection).iterator(include_vector=True)
        return {str(item.properties["chunk_id"]): (item.properties["uri"], item.properties["text"], tuple(item.vector["default"])) for item in held}


@pytest.mark.skipif(not DATES.is_dir(), reason="the documentation tree is not beside this checkout")
def test_three_dates_one_after_the_other_end_up_as_a_full_build_at_a_cost_of_what_changed(tmp_path: Path, other_clone: Callable[[str], AbstractContextManager[Path]]) -> None:
    values = params.load(ROOT / "params.yaml")
    dates = sorted(path.name for path in DATES.iterdir())
    with other_clone("kept"), server.held():
        for date in dates:
            shutil.rmtree("data/raw/docs", ignore_errors=True)
            shutil.copytree(DATES / date, "data/raw/docs")
            print(f"\n{date}: {build(values)}")
            receipt = files.read_json(Path("data/index.json"), Receipt)
            aliases.point("Live", receipt.collection)
        grown = objects()
        gone = {f"docs/{path.relative_to(DATES / dates[1])}" for path in (DATES / dates[1]).rglob("*.md")} - {f"docs/{path.relative_to(DATES / dates[2])}" for path in (DATES / dates[2]).rglob("*.md")}
        assert gone
        assert gone.isdisjoint(uri for uri, _, _ in grown.values())
        aliases.back("Live")
        with server.session() as client:
            before = {str(item.properties["uri"]) for item in client.collections.use("Live").iterator()}
        assert gone & before
        grown_digests = {path: files.digest(Path(path)) for path in ("data/documents.parquet", "data/chunks.parquet", "data/index.json")}
    with other_clone("fresh"), server.held():
        shutil.copytree(DATES / dates[-1], "data/raw/docs")
        print(f"\nfull build of {dates[-1]}: {build(values)}")
        fresh = objects()
        assert {path: files.digest(Path(path)) for path in grown_digests} == grown_digests
    assert fresh.keys() == grown.keys()
    assert all(fresh[name][:2] == grown[name][:2] for name in fresh)
    assert all(fresh[name][2] == grown[name][2] for name in fresh)
    print(f"{len(fresh)} objects with their vectors, the same")


@pytest.mark.parametrize("size", [int(size) for size in os.environ.get("CORPUS_SIZES", "1000").split(",")])
@pytest.mark.skipif(not DATES.is_dir(), reason="the documentation tree is not beside this checkout")
def test_one_changed_page_of_a_large_corpus(size: int, other_clone: Callable[[str], AbstractContextManager[Path]]) -> None:
    """Real paragraphs, mixed anew for every page, three to a page."""
    import random

    values = params.load(ROOT / "params.yaml")
    paragraphs = [part for path in sorted(DATES.rglob("*.md")) for part in path.read_text().split("\n\n") if 150 < len(part) < 900]
    dice = random.Random(7)
    with other_clone("large"), server.held():
        Path("data/raw/docs").mkdir(parents=True)
        for number in range(size):
            Path(f"data/raw/docs/{number}.md").write_text(f"# Page {number}\n\n" + "\n\n".join(dice.sample(paragraphs, 3)) + "\n")
        full = build(values)
        Path("data/raw/docs/7.md").write_text("# Page 7\n\nThis page was changed and says something else now, about boiling potatoes.\n")
        change = build(values)
    print(f"\n{size} pages\n  full   {full}\n  change {change}\n  {change['total'] / full['total']:.1%} of the seconds")
    assert (change["read"], change["embedded"]) == (1, 1)
