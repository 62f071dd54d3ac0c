"""The stages from the sources to the vectors, run in the current folder by several tests."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pipelines import files
from pipelines.config.chunk import ChunkConfig
from pipelines.config.embed import EmbedConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.engine import EngineConfig
from pipelines.config.ingest import FilesSource, IngestConfig
from pipelines.config.params import Params
from pipelines.config.redact import RedactConfig
from pipelines.contracts.report import Check, Report
from pipelines.stages import chunk, embed, ingest, redact
from pipelines.system.engine import LOCAL

BOOK = FilesSource(kind="files", name="book", path="data/raw/book", globs=["**/*"])
ARTIFACTS = {
    name: Path(f"data/{name}.parquet")
    for name in (
        *("converted", "rejections", "left_out", "documents", "chunks", "vectors", "redactions"),
    )
}
REPORTS = {
    name: Path(f"data/{name}.json")
    for name in ("ingestion", "redaction", "validation", "embedding")
}
LOCK = Path("lock.txt")


class Build(NamedTuple):
    """What the stages wrote, by the names of the artifacts and of the reports."""

    digests: dict[str, str]
    reports: dict[str, Any]


def build_vectors(values: Params, sources: IngestConfig, engine: EngineConfig = LOCAL) -> Build:
    """Run ingest, redact, chunk and embed; the validation between them passes unseen."""
    check = Check(name="any", passed=True, observed="", expected="")
    files.write_json(REPORTS["validation"], Report.of([check]))
    run_ingest(sources, engine)
    run_redact(values, engine)
    run_chunk(values, engine)
    run_embed(values, engine)
    reports = {name: read_report(name) for name in REPORTS}
    return Build({name: files.digest(path) for name, path in ARTIFACTS.items()}, reports)


def run_ingest(sources: IngestConfig, engine: EngineConfig = LOCAL) -> None:
    LOCK.write_text("")
    outputs = ingest.Outputs(
        converted=ARTIFACTS["converted"],
        rejections=ARTIFACTS["rejections"],
        left_out=ARTIFACTS["left_out"],
        ingestion=REPORTS["ingestion"],
    )
    inputs = ingest.Inputs(pipeline=LOCK)
    ingest.run(ingest.Config(ingest=sources, engine=engine), inputs, outputs)


def run_redact(values: Params, engine: EngineConfig = LOCAL) -> None:
    config = redact.Config(redact=values.section(RedactConfig), engine=engine)
    outputs = redact.Outputs(
        documents=ARTIFACTS["documents"],
        redactions=ARTIFACTS["redactions"],
        redaction=REPORTS["redaction"],
    )
    redact.run(config, redact.Inputs(converted=ARTIFACTS["converted"]), outputs)


def run_chunk(values: Params, engine: EngineConfig = LOCAL) -> None:
    config = chunk.Config(
        chunk=values.section(ChunkConfig), encoder=values.section(EncoderConfig), engine=engine
    )
    inputs = chunk.Inputs(documents=ARTIFACTS["documents"], validation=REPORTS["validation"])
    chunk.run(config, inputs, chunk.Outputs(chunks=ARTIFACTS["chunks"]))


def run_embed(values: Params, engine: EngineConfig = LOCAL) -> None:
    config = embed.Config(
        embed=values.section(EmbedConfig), encoder=values.section(EncoderConfig), engine=engine
    )
    outputs = embed.Outputs(vectors=ARTIFACTS["vectors"], embedding=REPORTS["embedding"])
    embed.run(config, embed.Inputs(chunks=ARTIFACTS["chunks"]), outputs)


def read_report(name: str) -> Any:
    return json.loads(REPORTS[name].read_text())
