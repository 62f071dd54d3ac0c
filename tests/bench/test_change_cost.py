"""What a change of the corpus costs against a full build: three real dates of one documentation tree, and a large corpus with one changed page.

.venv/bin/python -m pytest tests/bench/test_change_cost.py -s -o norecursedirs=
CORPUS_SIZES=1000,3000,10000 .venv/bin/python -m pytest tests/bench/test_change_cost.py -s -o norecursedirs= -k large

DOCS_GLOB='docs/[!cd]*/**/*.md' takes a fifth of the tree. CPU seconds are this process's, its ended children's, those of ingest's ended readers and the Weaviate server's.

The whole tree, on 2 cores with bf16 (the corpus changes by two years from date to date); all objects and vectors in the end as by the full build:
    2022-06-30: 215 documents read, 2,509 passages, 2,468 embedded, 74 CPU s
    2024-06-30: 209 documents, 173 read, 2,399 passages, 1,606 embedded, 46 CPU s
    2026-06-30: 249 documents, 215 read, 2,846 passages, 2,168 embedded, 60 CPU s
    full build of 2026-06-30: 249 documents read, 2,846 passages, 2,835 embedded, 74 CPU s

One page of many changed, on 2 cores with bf16, nothing beside it; one document read, one passage embedded, one object written and three removed:
    1,000 pages, 2,033 passages: full build 51.1 CPU s, the change 1.1 (1.2 s), 2.2 % of the compute
    3,000 pages, 6,120 passages: full build 132.2 CPU s, the change 1.5 (1.6 s), 1.1 %
    10,000 pages, 20,393 passages: full build 438.1 CPU s (264.5 s), the change 3.5 (3.5 s), 0.8 %; peak 1.9 GB; an earlier run 436.8, 3.8 (3.4 s), 0.9 %
On 2 slow cores without bf16 10,000 pages took 3,034 CPU s and the change 11.5 (10.5 s), 0.4 %.

These are the stages in one process that has loaded everything. In use each is a process of its own, which first loads its libraries, whatever the corpus's
size. In the project of 10,000 pages that the benchmark leaves (`--basetemp`), `/usr/bin/time -f "%U %S %e" python -m pipelines <stage>` one after the other,
nothing beside it, without the CPU of the Weaviate server, whose start is in the seconds, and of ingest's reader: a changed page 18.4 CPU s and 21 s (ingest
1.8, redact 1.6, validate 4.8, chunk 1.0, embed 7.1, 6 of them to import sentence-transformers, index 2.2), a deleted one 12.6 CPU s and 15 s (embed 2.6, since
the encoder is not loaded). That is more than a hundredth of the full build. On the slow cores a changed page took 39 CPU s and 48 s.
"""

import gc
import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.ingest import FilesSource
from pipelines.contracts.champion import ChampionFile
from pipelines.contracts.receipt import Receipt
from pipelines.vectorstore import aliases, server

ROOT = Path(__file__).parents[2]
DATES = ROOT.parent / "shared/data/docs/kubeflow_md"
SOURCES = [FilesSource(kind="files", name="docs", path="data/raw/docs", globs=[os.environ.get("DOCS_GLOB", "**/*.md")])]


Servers = Callable[[Path], list[int]]
MADE = [Path(f"data/{name}") for name in ("converted.parquet", "rejections.parquet", "documents.parquet", "chunks.parquet", "vectors.parquet", "index.json")]


@pytest.fixture(autouse=True)
def modules_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork server of ingest's readers imports what they share from where it runs, which in use is the repository's root."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def build(values: params.Params, servers: Servers) -> dict[str, Any]:
    """Run the stages from the sources to the index in the current folder; counts, seconds of each and CPU seconds of all."""
    from pipelines.stages import chunk, embed, index, ingest, redact, validate

    ingesting = values.ingest.model_copy(update={"sources": SOURCES, "max_rejected_share": 0.2})
    checking = values.validate_.model_copy(update={"max_characters": 10_000_000, "max_duplicate_share": 9.0, "max_untitled_share": 1.0, "min_characters": 1, "min_language_share": 0.5})
    converted, rejections, documents, chunks, vectors, receipt = MADE
    reports = {name: Path(f"data/{name}.json") for name in ("ingestion", "redaction", "validation", "embedding")}
    Path("lock.txt").write_text("")
    files.write_json(Path("champion.json"), ChampionFile(champion=None))
    stages: dict[str, Callable[[], None]] = {
        "ingest": lambda: ingest.run(ingesting, Path("data/raw"), Path("lock.txt"), converted, rejections, reports["ingestion"]),
        "redact": lambda: redact.run(values.redact, converted, documents, reports["redaction"]),
        "validate": lambda: validate.run(checking, ingesting, values.redact, documents, rejections, Path("champion.json"), reports["validation"], Path("data/docs")),
        "chunk": lambda: chunk.run(values.chunk, values.encoder, documents, reports["validation"], chunks),
        "embed": lambda: embed.run(values.embed, values.encoder, chunks, vectors, reports["embedding"]),
        "index": lambda: index.run(values.index, chunks, vectors, receipt),
    }
    seconds, before = {}, cpu_seconds(servers)
    for name, work in stages.items():
        gc.freeze()  # in use each stage is a process of its own: what the others imported is not looked through again and again
        began = time.monotonic()
        work()
        seconds[name] = round(time.monotonic() - began, 1)
    counts = {name: json.loads(path.read_text()) for name, path in reports.items() if name != "validation"}
    told = {"documents": counts["ingestion"]["documents"], "read": counts["ingestion"]["read"], "chunks": counts["embedding"]["chunks"], "embedded": counts["embedding"]["made"]}
    used = {"total": round(sum(seconds.values()), 1), "cpu": round(cpu_seconds(servers) - before, 1), "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}
    return told | {"seconds": seconds} | used


def cpu_seconds(servers: Servers) -> float:
    """Of this process, its children that have ended, the server that forks ingest's readers with those that have ended, and the clone's Weaviate server."""
    own = sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
    forker = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    ticks = sum(ticks_of(pid, 2) for pid in servers(Path.cwd())) + (ticks_of(forker, 4) if forker else 0)
    return own + ticks / os.sysconf("SC_CLK_TCK")


def ticks_of(pid: int, fields: int) -> int:
    """The first two fields are the process's own time, the next two that of its ended children."""
    return sum(map(int, (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[11 : 11 + fields]))


def objects() -> dict[str, tuple[Any, ...]]:
    """Every object of the collection that the receipt names: chunk id -> uri, text and vector."""
    receipt = files.read_json(Path("data/index.json"), Receipt)
    with server.session() as client:
        held = client.collections.use(receipt.collection).iterator(include_vector=True)
        return {str(item.properties["chunk_id"]): (item.properties["uri"], item.properties["text"], tuple(item.vector["default"])) for item in held}


@pytest.mark.skipif(not DATES.is_dir(), reason="the documentation tree is not beside this checkout")
def test_three_dates_one_after_the_other_end_up_as_a_full_build_at_a_cost_of_what_changed(tmp_path: Path, other_clone: Callable[[str], AbstractContextManager[Path]], servers: Servers) -> None:
    values = params.load(ROOT / "params.yaml")
    dates = sorted(path.name for path in DATES.iterdir() if path.is_dir())
    with other_clone("kept"), server.held():
        for date in dates:
            shutil.rmtree("data/raw/docs", ignore_errors=True)
            shutil.copytree(DATES / date, "data/raw/docs")
            print(f"\n{date}: {build(values, servers)}")
            receipt = files.read_json(Path("data/index.json"), Receipt)
            aliases.point("Live", receipt.collection)
        grown = objects()
        glob = SOURCES[0].globs[0]
        earlier, later = ({f"docs/{path.relative_to(DATES / date)}" for path in (DATES / date).glob(glob)} for date in dates[1:])
        gone = earlier - later
        assert gone
        assert gone.isdisjoint(uri for uri, _, _ in grown.values())
        aliases.back("Live")
        with server.session() as client:
            before = {str(item.properties["uri"]) for item in client.collections.use("Live").iterator()}
        assert gone & before
        grown_digests = {path: files.digest(Path(path)) for path in ("data/documents.parquet", "data/chunks.parquet", "data/index.json")}
    with other_clone("fresh"), server.held():
        shutil.copytree(DATES / dates[-1], "data/raw/docs")
        print(f"\nfull build of {dates[-1]}: {build(values, servers)}")
        fresh = objects()
        assert {path: files.digest(Path(path)) for path in grown_digests} == grown_digests
    assert fresh.keys() == grown.keys()
    assert all(fresh[name][:2] == grown[name][:2] for name in fresh)
    assert all(fresh[name][2] == grown[name][2] for name in fresh)
    print(f"{len(fresh)} objects with their vectors, the same")


@pytest.mark.parametrize("size", [int(size) for size in os.environ.get("CORPUS_SIZES", "1000").split(",")])
@pytest.mark.skipif(not DATES.is_dir(), reason="the documentation tree is not beside this checkout")
def test_one_changed_page_of_a_large_corpus(size: int, other_clone: Callable[[str], AbstractContextManager[Path]], servers: Servers) -> None:
    """Real paragraphs, mixed anew for every page, three to a page."""
    import random

    values = params.load(ROOT / "params.yaml")
    paragraphs = [part for path in sorted(DATES.rglob("*.md")) for part in path.read_text().split("\n\n") if 150 < len(part) < 900]
    dice = random.Random(7)
    with other_clone("large"), server.held():
        Path("data/raw/docs").mkdir(parents=True)
        for number in range(size):
            Path(f"data/raw/docs/{number}.md").write_text(f"# Page {number}\n\n" + "\n\n".join(dice.sample(paragraphs, 3)) + "\n")
        full = build(values, servers)
        Path("data/raw/docs/7.md").write_text("# Page 7\n\nThis page was changed and says something else now, about boiling potatoes.\n")
        change = build(values, servers)
    print(f"\n{size} pages\n  full   {full}\n  change {change}\n  {change['total'] / full['total']:.1%} of the seconds")
    assert (change["read"], change["embedded"]) == (1, 1)
