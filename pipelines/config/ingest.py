"""`ingest` of params.yaml: where documents come from."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipelines.config.section import Section


class FilesSource(Section):
    """Files of any format that there is a reader for, below one folder."""

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


class Limits(Section):
    """What one document may take while it is read; beyond it, it is a rejection."""

    seconds: float = Field(gt=0, description="seconds to read one document")
    memory_mib: int = Field(ge=768, description="MiB of address space of a process that reads documents, its libraries included")
    max_document_mib: int = Field(ge=1, description="MiB of one document")
    max_unpacked_mib: int = Field(ge=1, description="MiB that an office file or EPUB unpacks to")
    max_pages: int = Field(ge=1, description="pages of a PDF")


class Quality(Section):
    """Rules that a document's text must keep to be in the corpus; a document that breaks one is a rejection."""

    min_words: int = Field(ge=1, description="words; a shorter document says nothing")
    min_letter_share: float = Field(ge=0, le=1, description="letters among the characters; less is a dump of numbers or symbols")
    max_repeated_line_share: float = Field(ge=0, le=1, description="characters in lines that occurred before; more is boilerplate")
    max_replacement_share: float = Field(ge=0, le=1, description="U+FFFD among the characters; more is a damaged text")
    max_mojibake_share: float = Field(ge=0, le=1, description="sequences such as Ã¼ among the characters, as ftfy counts them; more was decoded wrongly")


class IngestConfig(Section):
    """Sources, what is refused, and how much of it stops the run."""

    max_rejected_share: float = Field(ge=0, le=1, description="share of documents that may be rejected before the run stops")
    num_workers: int = Field(ge=0, description="processes that read documents; 0: one a CPU core")
    limits: Limits = Field(description="of one document")
    quality: Quality = Field(description="rules for a document's text")
    near_duplicate_similarity: float = Field(gt=0, le=1, description="common word 5-grams (Jaccard, by MinHash) from which two documents count as one")
    sources: list[Source] = Field(min_length=1, description="where documents come from")

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: list[Source]) -> list[Source]:
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are named {twice[0]}: give each its own name")
        return sources
