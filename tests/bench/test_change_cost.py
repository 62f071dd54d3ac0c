"""What a change of the corpus costs compared with a full build.

Two measurements: three real dates of one documentation tree, and a large corpus with one changed
page.

.venv/bin/python -m pytest tests/bench/test_change_cost.py -s -o norecursedirs=
CORPUS_SIZES=1000,3000,10000 .venv/bin/python -m pytest tests/bench/test_change_cost.py -s \
    -o norecursedirs= -k large

DOCS_GLOB='docs/[!cd]*/**/*.md' takes a fifth of the tree. CPU seconds are those of this process,
its ended children, ingest's ended readers and the Weaviate server.

The whole tree, on 2 cores with bf16 (the corpus changes by two years from date to date). In the
end all objects and vectors are those of the full build:
    2022-06-30: 215 documents read, 2,509 passages, 2,468 embedded, 74 CPU s
    2024-06-30: 209 documents, 173 read, 2,399 passages, 1,606 embedded, 46 CPU s
    2026-06-30: 249 documents, 215 read, 2,846 passages, 2,168 embedded, 60 CPU s
    full build of 2026-06-30: 249 documents read, 2,846 passages, 2,835 embedded, 74 CPU s

One page of many changed, on 2 cores with bf16 and nothing else running; one document read, one
passage embedded, one object written and three removed:
    1,000 pages, 2,033 passages: full build 51.1 CPU s, the change 1.1 (1.2 s), 2.2 % of it
    3,000 pages, 6,120 passages: full build 132.2 CPU s, the change 1.5 (1.6 s), 1.1 %
    10,000 pages, 20,393 passages: full build 438.1 CPU s (264.5 s), the change 3.5 (3.5 s),
        0.8 %; peak 1.9 GB; an earlier run 436.8, 3.8 (3.4 s), 0.9 %
On 2 slow cores without bf16 10,000 pages took 3,034 CPU s and the change 11.5 (10.5 s), 0.4 %.

These are the stages in one process that has loaded everything. In use each is a process of its
own, which first loads its libraries, whatever the corpus's size. That was measured in the project
of 10,000 pages that the benchmark leaves (`--basetemp`), with `/usr/bin/time -f "%U %S %e" python
-m pipelines <stage>` one after another and nothing else running. It leaves out the CPU of the
Weaviate server, whose start is in the seconds, and of ingest's reader:
    a changed page: 18.4 CPU s and 21 s (ingest 1.8, redact 1.6, validate 4.8, chunk 1.0, embed
        7.1, 6 of them to import sentence-transformers, index 2.2)
    a deleted page: 12.6 CPU s and 15 s (embed 2.6, since the encoder is not loaded)
That is more than a hundredth of the full build. On the slow cores a changed page took 39 CPU s
and 48 s.
"""

import gc
import os
import random
import resource
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.index import IndexConfig
from pipelines.config.ingest import FilesSource, IngestConfig
from pipelines.config.params import Params
from pipelines.config.redact import RedactConfig
from pipelines.config.validate import ValidateConfig
from pipelines.contracts.champion import ChampionFile
from pipelines.contracts.receipt import Receipt
from pipelines.stages import index, validate
from pipelines.vectorstore import hold_server, move_alias_back, open_client, point_alias
from tests import knowledge
from tests.knowledge import ARTIFACTS, REPORTS

ROOT = Path(__file__).parents[2]
DATES = ROOT.parent / "shared/data/docs/kubeflow_md"
SOURCE = FilesSource(
    kind="files",
    name="docs",
    path="data/raw/docs",
    globs=[os.environ.get("DOCS_GLOB", "**/*.md")],
)
RECEIPT = Path("data/index.json")
CHAMPION = Path("champion.json")
NUM_TIMES = 2  # fields of /proc/PID/stat with a process's own time
NUM_TIMES_WITH_CHILDREN = 4  # and with that of its ended children

needs_docs = pytest.mark.skipif(
    not DATES.is_dir(), reason="the documentation tree is not beside this checkout"
)
Servers = Callable[[Path], list[int]]
Clones = Callable[[str], AbstractContextManager[Path]]


class StoredObject(NamedTuple):
    """An object of the index."""

    uri: str
    text: str
    vector: tuple[float, ...]


@pytest.fixture(autouse=True)
def _modules_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork server of ingest's readers imports modules from its current folder.

    In use that is the repository's root.
    """
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def build(values: Params, servers: Servers) -> dict[str, Any]:
    """Run the stages from the sources to the index in the current folder.

    Returns counts, the seconds of each stage and the CPU seconds of all.
    """
    sources = values.section(IngestConfig).model_copy(
        update={"sources": [SOURCE], "max_rejected_share": 0.2}
    )
    stages: dict[str, Callable[[], None]] = {
        "ingest": lambda: knowledge.run_ingest(sources),
        "redact": lambda: knowledge.run_redact(values),
        "validate": lambda: run_validate(values, sources),
        "chunk": lambda: knowledge.run_chunk(values),
        "embed": lambda: knowledge.run_embed(values),
        "index": lambda: run_index(values),
    }
    seconds: dict[str, float] = {}
    cpu_before = cpu_seconds(servers)
    for name, run_stage in stages.items():
        # In use each stage is a process of its own: what the others imported is not collected
        # again and again.
        gc.freeze()
        start = time.monotonic()
        run_stage()
        seconds[name] = round(time.monotonic() - start, 1)
    return {
        **counts(),
        "seconds": seconds,
        "total": round(sum(seconds.values()), 1),
        "cpu": round(cpu_seconds(servers) - cpu_before, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def run_validate(values: Params, sources: IngestConfig) -> None:
    """With bounds that these documents keep."""
    bounds = {
        "max_duplicate_share": 9.0,
        "max_untitled_share": 1.0,
        "min_median_characters": 1,
        "min_language_share": 0.5,
    }
    config = validate.Config(
        validate=values.section(ValidateConfig).model_copy(update=bounds),
        ingest=sources,
        redact=values.section(RedactConfig),
    )
    files.write_json(CHAMPION, ChampionFile(champion=None))
    inputs = validate.Inputs(
        documents=ARTIFACTS["documents"],
        rejections=ARTIFACTS["rejections"],
        left_out=ARTIFACTS["left_out"],
        champion=CHAMPION,
    )
    outputs = validate.Outputs(REPORTS["validation"], Path("data/docs"))
    validate.run(config, inputs, outputs)


def run_index(values: Params) -> None:
    inputs = index.Inputs(ARTIFACTS["chunks"], ARTIFACTS["vectors"])
    index.run(values.section(IndexConfig), inputs, index.Outputs(RECEIPT))


def counts() -> dict[str, int]:
    ingestion = knowledge.read_report("ingestion")
    embedding = knowledge.read_report("embedding")
    return {
        "documents": ingestion["documents"],
        "read": ingestion["read"],
        "chunks": embedding["chunks"],
        "embedded": embedding["made"],
    }


def cpu_seconds(servers: Servers) -> float:
    """CPU seconds of all processes that take part.

    They are this process and its ended children, the fork server of ingest's readers and those of
    them that have ended, and the clone's Weaviate server.
    """
    seconds = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        seconds += usage.ru_utime + usage.ru_stime
    ticks = sum(count_ticks(pid, NUM_TIMES) for pid in servers(Path.cwd()))
    fork_server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # private
    if fork_server:
        ticks += count_ticks(fork_server, NUM_TIMES_WITH_CHILDREN)
    return seconds + ticks / os.sysconf("SC_CLK_TCK")


def count_ticks(pid: int, num_times: int) -> int:
    """Clock ticks in the first `num_times` fields of times in /proc/PID/stat."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rsplit(")", 1)[1].split()
    return sum(map(int, fields[11 : 11 + num_times]))


def read_objects() -> dict[str, StoredObject]:
    """Chunk id -> object, of the collection that the receipt names."""
    receipt = files.read_json(RECEIPT, Receipt)
    objects: dict[str, StoredObject] = {}
    with open_client() as client:
        collection = client.collections.use(receipt.collection)
        for item in collection.iterator(include_vector=True):
            objects[str(item.properties["chunk_id"])] = StoredObject(
                uri=str(item.properties["uri"]),
                text=str(item.properties["text"]),
                vector=tuple(item.vector["default"]),
            )
    return objects


def read_live_uris() -> set[str]:
    with open_client() as client:
        live = client.collections.use("Live")
        return {str(item.properties["uri"]) for item in live.iterator()}


def uris_of(date: str) -> set[str]:
    """The uris of the documents of a date."""
    folder = DATES / date
    return {f"docs/{path.relative_to(folder)}" for path in folder.glob(SOURCE.globs[0])}


@needs_docs
def test_three_dates_one_after_another_end_up_as_a_full_build(
    other_clone: Clones, servers: Servers
) -> None:
    values = params.load(ROOT / "params.yaml")
    dates = sorted(path.name for path in DATES.iterdir() if path.is_dir())
    compared_files = [ARTIFACTS["documents"], ARTIFACTS["chunks"], RECEIPT]
    with other_clone("grown"), hold_server():
        for date in dates:
            shutil.rmtree("data/raw/docs", ignore_errors=True)
            shutil.copytree(DATES / date, "data/raw/docs")
            print(f"\n{date}: {build(values, servers)}")
            point_alias("Live", files.read_json(RECEIPT, Receipt).collection)
        grown_objects = read_objects()
        removed_uris = uris_of(dates[1]) - uris_of(dates[2])
        assert removed_uris
        assert removed_uris.isdisjoint(item.uri for item in grown_objects.values())
        move_alias_back("Live")
        assert removed_uris & read_live_uris()
        grown_digests = {path: files.digest(path) for path in compared_files}
    with other_clone("fresh"), hold_server():
        shutil.copytree(DATES / dates[-1], "data/raw/docs")
        print(f"\nfull build of {dates[-1]}: {build(values, servers)}")
        fresh_objects = read_objects()
        assert {path: files.digest(path) for path in compared_files} == grown_digests
    assert fresh_objects == grown_objects
    print(f"{len(fresh_objects)} objects with their vectors, the same")


def read_paragraphs() -> list[str]:
    paragraphs: list[str] = []
    for path in sorted(DATES.rglob("*.md")):
        parts = path.read_text().split("\n\n")
        paragraphs += [part for part in parts if 150 < len(part) < 900]
    return paragraphs


@needs_docs
@pytest.mark.parametrize(
    "size", [int(size) for size in os.environ.get("CORPUS_SIZES", "1000").split(",")]
)
def test_one_changed_page_of_a_large_corpus(
    size: int, other_clone: Clones, servers: Servers
) -> None:
    """Real paragraphs, mixed anew for every page, three to a page."""
    values = params.load(ROOT / "params.yaml")
    paragraphs = read_paragraphs()
    dice = random.Random(7)
    with other_clone("large"), hold_server():
        folder = Path("data/raw/docs")
        folder.mkdir(parents=True)
        for number in range(size):
            text = "\n\n".join(dice.sample(paragraphs, 3))
            (folder / f"{number}.md").write_text(f"# Page {number}\n\n{text}\n")
        full = build(values, servers)
        (folder / "7.md").write_text(
            "# Page 7\n\n"
            "This page was changed and says something else now, about boiling potatoes.\n"
        )
        change = build(values, servers)
    share = change["total"] / full["total"]
    print(f"\n{size} pages\n  full   {full}\n  change {change}\n  {share:.1%} of the seconds")
    assert (change["read"], change["embedded"]) == (1, 1)
