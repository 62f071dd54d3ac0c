"""The params.yaml that everybody starts with."""

from pathlib import Path

from pipelines.config import params
from pipelines.config.ingest import IngestConfig, PackagesSource
from pipelines.corpus.sources import pinned_versions, read_packages


def test_every_default_package_is_installed_in_the_pinned_version() -> None:
    pins = pinned_versions(Path("infra/requirements/pipeline.txt"))
    problems: dict[str, str] = {}
    num_documents = 0
    for source in params.load().section(IngestConfig).sources:
        if isinstance(source, PackagesSource):
            for document in read_packages(source, pins):
                num_documents += 1
                if document.problem:
                    problems[document.uri] = document.problem
    assert num_documents >= 90
    assert problems == {}
