"""`python -m pipelines fetch`: bring what remote sources hold now into data/raw/fetched, which DVC watches."""

from pipelines import files
from pipelines.config import params
from pipelines.corpus import remote
from pipelines.errors import UserError


def run(source: str | None) -> None:
    """Fetch every remote source of params.yaml, or the one named. A source that cannot be read keeps its last snapshot and ends the command."""
    config = params.load().ingest
    wanted = [one for one in config.sources if remote.is_remote(one) and source in (None, one.name)]
    if source is not None and not wanted:
        known = ", ".join(one.name for one in config.sources if remote.is_remote(one)) or "none"
        raise UserError(f"params.yaml: ingest.sources has no remote source named {source}; there are: {known}")
    for one in wanted:
        path = remote.snapshot(one.name)
        before = files.digest(path) if path.exists() else None
        count = remote.fetch(one, config.limits.max_document_mib << 20)
        print(f"{one.name}: {count} documents in {path} ({'unchanged' if files.digest(path) == before else 'changed: `dvc repro` reads them'})")
    if not wanted:
        print("params.yaml: ingest.sources has no remote source: nothing to fetch")
