"""ingest: the sources of params.yaml -> documents and rejections. A document that has not changed is not read again."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipelines import files, place, workcache
from pipelines.config.engine import EngineConfig
from pipelines.config.ingest import IngestConfig
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.corpus import intake
from pipelines.corpus.intake import Intake
from pipelines.corpus.sources import Found, found, pinned_versions
from pipelines.engine import LOCAL
from pipelines.errors import UserError


def run(config: IngestConfig, raw: Path, pipeline: Path, converted: Path, rejections: Path, ingestion: Path, engine: EngineConfig = LOCAL) -> None:
    """Read every source. Raises UserError where a source yields nothing or too much is rejected.

    `raw` is the folder below which files lie (config/ingest.py sees to it); `pipeline` pins the packages' versions.
    """
    pins = pinned_versions(pipeline)
    with workcache.opened(place.shared_state() / "work.sqlite", intake.kind(config)) as cache:
        taken = intake.take_in(_all(config, pins), config, cache, engine)
        _demand_documents(config, taken)
        files.write(rejections, REJECTIONS, sorted(taken.rejections, key=lambda row: str(row["uri"])))
        _demand_few_rejections(config, taken)
        files.write(converted, DOCUMENTS, intake.documents(taken, cache))
    stages = Counter(row["stage"] for row in taken.rejections)
    counts = {"documents": len(taken.kept), "read": taken.num_read, "aliases": sum(map(len, taken.aliases.values())), "rejected": len(taken.rejections)}
    files.write_json(ingestion, {**counts, "rejected_at": {stage: stages[stage] for stage in sorted(stages)}})
    print(f"{len(taken.kept)} documents ({taken.num_read} read, the others unchanged), {counts['aliases']} near-duplicates left out, {len(taken.rejections)} rejected")


def _all(config: IngestConfig, pins: dict[str, str]) -> Iterator[tuple[str, Found]]:
    for source in config.sources:
        for document in found(source, pins, config.limits.max_document_mib << 20):
            yield source.name, document


def _demand_documents(config: IngestConfig, taken: Intake) -> None:
    rejected = {row["uri"]: row for row in taken.rejections}
    for source in config.sources:
        bad = [rejected[entry.uri] for entry in taken.entries if entry.source == source.name and entry.uri in rejected]
        good = sum(entry.source == source.name for entry in taken.entries) - len(bad)
        print(f"{source.name}: {good} documents, {len(bad)} rejected")
        if good == 0:
            reasons = "".join(f"\n  - {row['uri']}: {row['reason']}" for row in bad[:10])
            raise UserError(f"params.yaml: ingest.sources: source {source.name} yields no document. Mend its files, or remove it from the list:{reasons}")


def _demand_few_rejections(config: IngestConfig, taken: Intake) -> None:
    rejected, total = taken.rejections, len(taken.entries)
    if len(rejected) / total > config.max_rejected_share:
        shown = "\n".join(f"  - {row['uri']}: {row['reason']}" for row in rejected[:10])
        raise UserError(
            f"{len(rejected)} of {total} documents were rejected ({len(rejected) / total:.1%}), more than ingest.max_rejected_share ({config.max_rejected_share:.1%}) in params.yaml allows. Mend or remove them:\n{shown}"
        )
