"""ingest: the sources of params.yaml -> documents and rejections."""

from pathlib import Path

from pipelines import files
from pipelines.config.ingest import IngestConfig
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.corpus.sources import documents as read_source
from pipelines.corpus.sources import pinned_versions
from pipelines.errors import UserError


def run(config: IngestConfig, raw: Path, pipeline: Path, documents: Path, rejections: Path) -> None:
    """Read every source. Raises UserError where a source yields nothing or too much is rejected.

    `raw` is the folder below which `files` sources lie (config/ingest.py sees to it); `pipeline` pins the packages' versions.
    """
    pins = pinned_versions(pipeline)
    readings = [(source.name, list(read_source(source, pins))) for source in config.sources]
    rejected = [reading.rejection for _, source in readings for reading in source if reading.rejection]
    rows = [reading.document for _, source in readings for reading in source if reading.document]
    for name, source in readings:
        good = sum(reading.document is not None for reading in source)
        print(f"{name}: {good} documents, {len(source) - good} rejected")
        if good == 0:
            reasons = "".join(f"\n  - {reading.rejection['uri']}: {reading.rejection['reason']}" for reading in source[:10] if reading.rejection)
            raise UserError(f"params.yaml: ingest.sources: source {name} yields no document. Mend its files, or remove it from the list:{reasons}")
    files.write(rejections, REJECTIONS, sorted(rejected, key=lambda row: str(row["uri"])))
    share = len(rejected) / (len(rejected) + len(rows))
    if share > config.max_rejected_share:
        shown = "\n".join(f"  - {row['uri']}: {row['reason']}" for row in rejected[:10])
        raise UserError(
            f"{len(rejected)} of {len(rejected) + len(rows)} documents were rejected ({share:.1%}), more than ingest.max_rejected_share ({config.max_rejected_share:.1%}) in params.yaml allows. Mend or remove them:\n{shown}"
        )
    files.write(documents, DOCUMENTS, sorted(rows, key=lambda row: str(row["doc_id"])))
