"""The params.yaml that everybody starts with."""

from pathlib import Path

from pipelines.config import params
from pipelines.config.ingest import PackagesSource
from pipelines.corpus.sources import read_packages


def test_every_default_package_is_installed_in_the_pinned_version() -> None:
    lock = Path("infra/requirements/pipeline.txt").read_text()
    pins = dict(line.split(";")[0].strip().split("==") for line in lock.splitlines() if "==" in line and ";" not in line)
    sources = [source for source in params.load().ingest.sources if isinstance(source, PackagesSource)]

    found = [document for source in sources for document in read_packages(source, pins, 1 << 26)]

    assert len(found) >= 90
    assert [document.uri for document in found if document.problem] == []
