"""`ingest` of params.yaml: where documents come from."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipelines.config.section import Section


class FilesSource(Section):
    """Markdown, reStructuredText, HTML and plain-text files below one folder."""

    kind: Literal["files"] = Field(description="files: documents below a folder")
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="first part of the documents' uri, e.g. handbook")
    path: str = Field(description="folder below data/raw (which dvc.yaml tracks), relative to the repository's root")
    globs: list[str] = Field(min_length=1, description="patterns below the folder, e.g. **/*.md")

    @field_validator("path")
    @classmethod
    def _is_tracked(cls, path: str) -> str:
        if PurePosixPath(path).parts[:2] != ("data", "raw") or ".." in PurePosixPath(path).parts:
            raise ValueError("a source's folder must lie below data/raw, which `dvc.yaml` lists as a dependency: else changed documents would not rerun the stages")
        return path

    @field_validator("globs")
    @classmethod
    def _stay_below_the_folder(cls, globs: list[str]) -> list[str]:
        for glob in globs:
            if not glob or PurePosixPath(glob).is_absolute() or ".." in PurePosixPath(glob).parts:
                raise ValueError(f"{glob!r} is no pattern below the folder: write one such as **/*.md")
        return globs


class PackagesSource(Section):
    """Descriptions and metadata of installed Python packages."""

    kind: Literal["python_packages"] = Field(description="python_packages: descriptions of installed packages")
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="first part of the documents' uri")
    packages: list[str] = Field(min_length=1, description="distribution names; versions are those of infra/requirements/pipeline.txt")


Source = Annotated[FilesSource | PackagesSource, Field(discriminator="kind")]


class IngestConfig(Section):
    """Sources, and how much of them may be rejected."""

    max_rejected_share: float = Field(ge=0, le=1, description="share of files that may be rejected before the run stops")
    sources: list[Source] = Field(min_length=1, description="where documents come from")

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: list[Source]) -> list[Source]:
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are named {twice[0]}: give each its own name")
        return sources
