"""`ingest` of params.yaml: where documents come from."""

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from pipelines.config.section import ANY_IF_RESTRICTED, HIGHER, LOWER, Section
from pipelines.runtime import readers

RAW_FOLDER = ("data", "raw")
PASSWORD = re.compile(r"//[^/@:]*:([^/@]+)@")
# fsspec's protocols for files, memory and repositories of this machine, and for lists that name
# such files.
LOCAL_PROTOCOLS = (
    "file", "local", "asynclocal", "memory", "git", "dvc", "data", "reference", "root", "generic",
)  # fmt: skip
VARIABLE = re.compile(r"\$\{\w+\}")
SourceName = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]*$", description="first part of the documents' uri"),
]


def _check_readers(names: list[str]) -> list[str]:
    if readers.EVERYONE in names:
        raise ValueError(f"leave the list empty if {readers.EVERYONE} may read the source")
    readers.to_groups(names)
    return names


Readers = Annotated[
    list[str],
    AfterValidator(_check_readers),
    Field(
        description="groups that alone may read its documents; empty: everyone. A document's front "
        "matter may name fewer of them",
    ),
]
TextColumn = Annotated[str, Field(min_length=1, description="column with the text")]
TitleColumn = Annotated[str | None, Field(description="column with the title, or null")]


class FilesSource(Section):
    """Files of any format that has a reader, below one folder or URL."""

    kind: Literal["files"] = Field(description="files: documents below a folder")
    name: SourceName
    path: str = Field(
        description="folder below data/raw (which dvc.yaml tracks), or a URL that fsspec opens and "
        "`python -m pipelines fetch` reads"
    )
    globs: list[str] = Field(min_length=1, description="patterns below the folder, e.g. **/*.md")
    readers: Readers = []

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if "://" in path or "::" in path:
            problem = local_url_problem(path)
            if problem:
                raise ValueError(problem)
            return _without_password(path)
        parts = PurePosixPath(path).parts
        if parts[:2] != RAW_FOLDER or ".." in parts:
            raise ValueError(
                "a source's folder must lie below data/raw, which `dvc.yaml` lists as a "
                "dependency: otherwise changed documents would not rerun the stages"
            )
        return path

    @field_validator("globs")
    @classmethod
    def _check_globs(cls, globs: list[str]) -> list[str]:
        for glob in globs:
            pattern = PurePosixPath(glob)
            if not glob or pattern.is_absolute() or ".." in pattern.parts:
                raise ValueError(
                    f"{glob!r} is not a pattern below the folder; use one such as **/*.md"
                )
        return globs


class PackagesSource(Section):
    """Descriptions and metadata of installed Python packages."""

    kind: Literal["python_packages"] = Field(
        description="python_packages: descriptions of installed packages"
    )
    name: SourceName
    packages: list[str] = Field(
        min_length=1,
        description="distribution names; versions are those of infra/requirements/pipeline.txt",
    )


class FaqSource(Section):
    """The topics of data/faq, so that canonical answers are retrieved like any other passage."""

    kind: Literal["faq"] = Field(description="faq: the topics of data/faq that are no refusals")
    name: SourceName


class WebSource(Section):
    """Pages of one site, by its sitemap or by its links."""

    kind: Literal["web"] = Field(description="web: pages of one site")
    name: SourceName
    start: str = Field(
        pattern=r"^https?://[^/@]+(/.*)?$",
        description="a sitemap (ends with .xml or .xml.gz), or the page from which links are "
        "followed; only URLs below its folder are read",
    )
    max_pages: int = Field(ge=1, description="maximum number of pages")
    requests_per_second: float = Field(
        gt=0, description="maximum rate; the site's Crawl-delay counts if it is slower"
    )
    readers: Readers = []


class SqlSource(Section):
    """Rows of one query."""

    kind: Literal["sql"] = Field(description="sql: rows of a query")
    name: SourceName
    url: str = Field(
        description="SQLAlchemy URL; ${NAME} stands for an environment variable, such as the one "
        "with the password"
    )
    query: str = Field(min_length=1, description="one SELECT")
    id_column: str = Field(min_length=1, description="column with a row's lasting id")
    text_column: TextColumn
    title_column: TitleColumn
    readers: Readers = []

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return _without_password(url)


class HfSource(Section):
    """Rows of a data set."""

    kind: Literal["hf"] = Field(description="hf: rows of a data set")
    name: SourceName
    dataset: str = Field(
        min_length=1, description="hub id; or parquet, json, csv or arrow for local files"
    )
    revision: str | None = Field(
        description="commit of a hub id, 40 hex digits; null for local files"
    )
    data_files: list[str] = Field(description="local files or patterns; empty for a hub id")
    split: str = Field(min_length=1, description="split, such as train")
    id_column: str | None = Field(
        description="column with a row's lasting id; null: the row's number"
    )
    text_column: TextColumn
    title_column: TitleColumn
    readers: Readers = []


class GitSource(Section):
    """Files of a Git repository at a revision."""

    kind: Literal["git"] = Field(description="git: files of a repository")
    name: SourceName
    repository: str = Field(pattern=r"^[^-].*$", description="URL or folder")
    revision: str = Field(pattern=r"^[^-].*$", description="branch, tag or commit")
    globs: list[str] = Field(min_length=1, description="patterns of files, e.g. docs/**/*.md")
    readers: Readers = []


Source = Annotated[
    FilesSource | PackagesSource | FaqSource | WebSource | SqlSource | HfSource | GitSource,
    Field(discriminator="kind"),
]


def local_url_problem(url: str) -> str | None:
    """Why the URL is refused if it, or a part of a chain such as zip://*::PART, is no remote one.

    Files of this machine come by data/raw alone, which `dvc.yaml` lists as a dependency.
    """
    for number, part in enumerate(url.split("::")):
        protocol, separator, _ = part.partition("://")
        is_wrapper = number == 0 and part.isidentifier()  # simplecache::https://...
        if protocol.lower() in LOCAL_PROTOCOLS or not (separator or is_wrapper):
            return f"{part} is on this machine: copy the files below data/raw, and name that folder"
    return None


def _without_password(url: str) -> str:
    password = PASSWORD.search(url)
    if password and not VARIABLE.fullmatch(password[1]):
        raise ValueError(
            "the password is in the file, which is in Git: "
            "put it into an environment variable and write ${NAME}"
        )
    return url


class Limits(Section):
    """What reading one document may take; a document that needs more is rejected."""

    seconds: float = Field(
        json_schema_extra=HIGHER, gt=0, description="seconds of CPU time to read one document"
    )
    memory_mib: int = Field(
        json_schema_extra=HIGHER,
        ge=768,
        description="MiB of address space of a process that reads documents, libraries included",
    )
    max_document_mib: int = Field(json_schema_extra=HIGHER, ge=1, description="MiB of one document")
    max_unpacked_mib: int = Field(
        json_schema_extra=HIGHER, ge=1, description="MiB that an office file or EPUB unpacks to"
    )
    max_pages: int = Field(json_schema_extra=HIGHER, ge=1, description="pages of a PDF")


class Quality(Section):
    """Rules for a document's text; a document that breaks one is rejected."""

    min_words: int = Field(
        json_schema_extra=LOWER,
        ge=1,
        description="words; a shorter document says nothing. In scripts without blanks between "
        "words, two characters count as one",
    )
    min_letter_share: float = Field(
        json_schema_extra=LOWER,
        ge=0,
        le=1,
        description="letters among the characters that are no digits, blanks, or marks of numbers "
        "and tables; less is a dump of symbols",
    )
    max_repeated_line_share: float = Field(
        json_schema_extra=HIGHER,
        ge=0,
        le=1,
        description="characters in lines that occurred before; more is boilerplate",
    )
    max_replacement_share: float = Field(
        json_schema_extra=HIGHER,
        ge=0,
        le=1,
        description="U+FFFD among the characters; more is a damaged text",
    )
    max_mojibake_share: float = Field(
        json_schema_extra=HIGHER,
        ge=0,
        le=1,
        description="sequences such as Ã¼ among the characters, as ftfy counts them; "
        "more was decoded wrongly",
    )


class IngestConfig(Section):
    """Sources, what is rejected, and how much of it stops the run."""

    max_rejected_share: float = Field(
        json_schema_extra=HIGHER,
        ge=0,
        le=1,
        description="share of documents that may be rejected before the run stops",
    )
    num_workers: int = Field(
        ge=0, description="processes that read documents; 0: one for each CPU core"
    )
    limits: Limits = Field(description="of one document")
    quality: Quality = Field(description="rules for a document's text")
    near_duplicate_similarity: float = Field(
        gt=0,
        le=1,
        description="common word 5-grams (Jaccard, by MinHash) from which two documents count as "
        "one",
    )
    ocr_languages: list[Annotated[str, Field(pattern=r"^[a-zA-Z_]+$")]] = Field(
        default=[],
        description="languages of scanned pages in Tesseract's names, such as eng or deu; "
        "empty: their text is not recognised",
    )
    sources: list[Source] = Field(
        json_schema_extra=ANY_IF_RESTRICTED, min_length=1, description="where documents come from"
    )

    @field_validator("sources")
    @classmethod
    def _check_names(cls, sources: list[Source]) -> list[Source]:
        counts = Counter(source.name for source in sources)
        for name in sorted(counts):
            if counts[name] > 1:
                raise ValueError(f"two sources are named {name}: give each its own name")
        return sources
