"""What the user names, a folder or a URL, as a source of params.yaml."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from pipelines.errors import UserError
from pipelines.system import git

RAW = Path("data/raw")
# Names of the folder below data/raw and of sources that the sample and `fetch` use.
RESERVED_NAMES = {"fetched", "handbook", "faq", "packages", "sample"}
# Suffixes of the formats that have a reader (corpus/formats.py).
SUFFIXES = (
    *(".md", ".markdown", ".rst", ".html", ".htm", ".xhtml", ".txt", ".csv", ".tsv", ".eml"),
    *(".pdf", ".docx", ".pptx", ".xlsx", ".epub"),
)
MAX_PAGES = 2000  # of a site
REQUESTS_PER_SECOND = 2
COMMENT_COLUMN = 36
FAQ_HINT = (
    "    # Once data/faq holds topics with answers, these lines let them be found as well:\n"
    "    # - kind: faq\n"
    "    #   name: faq"
)


@dataclass(frozen=True)
class Origin:
    """A source of params.yaml: its kind, its name, and its lines below `- kind`."""

    kind: str  # files | web | git
    name: str
    lines: dict[str, tuple[str, str]]  # key -> (value as YAML, comment)
    folder: Path | None  # to be copied to data/raw/<name>

    @property
    def is_remote(self) -> bool:
        return self.folder is None and not self.lines["path"][0].startswith(str(RAW))

    def as_yaml(self) -> str:
        """The value of `ingest.sources`, from its first dash on."""
        rows = {"kind": (self.kind, ""), "name": (self.name, f"documents: {self.name}/<path>")}
        lines: list[str] = []
        for key, (value, comment) in (rows | self.lines).items():
            start = "    - " if key == "kind" else "      "
            line = f"{start}{key}: {value}"
            if comment:
                width = COMMENT_COLUMN if len(line) + 2 <= COMMENT_COLUMN else len(line) + 2
                line = f"{line:{width}}# {comment}"
            lines.append(line)
        return "\n".join([*lines, FAQ_HINT]).lstrip()


def read(address: str, name: str | None) -> Origin:
    """The origin that an address names. Raises UserError if nothing can be read there."""
    if "://" in address:
        return _remote(address, name)
    folder = Path(address).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"{address}: is neither a folder nor a URL: name a folder of documents, a site "
            "(https://...) or a Git repository"
        )
    return _folder(folder, name)


def documents_below(folder: Path) -> list[Path]:
    """The files that have a reader, relative to the folder; hidden files and folders are left."""
    paths: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in SUFFIXES:
                paths.append((Path(root) / name).relative_to(folder))
    return paths


def suffixes_without_reader(folder: Path) -> Counter[str]:
    """How many files of each suffix are left out."""
    counts: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix.lower() not in SUFFIXES:
            counts[path.suffix.lower() or "without a suffix"] += 1
    return counts


def _folder(folder: Path, name: str | None) -> Origin:
    documents = documents_below(folder)
    if not documents:
        raise UserError(
            f"{folder}: holds no document that can be read; formats are {', '.join(SUFFIXES)}"
        )
    below_raw = _below_raw(folder)
    source_name = _checked_name(name or (below_raw or folder.resolve()).name)
    path = below_raw or RAW / source_name
    suffixes = sorted({document.suffix for document in documents})
    globs = ", ".join(f'"**/*{suffix}"' for suffix in suffixes)
    lines = {
        "path": (str(path), "a folder below data/raw, which DVC watches"),
        "globs": (f"[{globs}]", ""),
    }
    return Origin("files", source_name, lines, None if below_raw else folder.resolve())


def _below_raw(folder: Path) -> Path | None:
    """The folder as `params.yaml` names it, if its documents lie below data/raw already."""
    root = RAW.resolve()
    resolved = folder.resolve()
    if resolved == root or root not in resolved.parents:
        return None
    return RAW / resolved.relative_to(root)


def _remote(url: str, name: str | None) -> Origin:
    parts = urlparse(url)
    last = PurePosixPath(parts.path).name.removesuffix(".git").removesuffix(".xml")
    branch = _default_branch(url)
    if branch is not None:
        source_name = _checked_name(name or last)
        lines = {
            "repository": (f'"{url}"', ""),
            "revision": (branch, "a branch, a tag or a commit"),
            "globs": (f"[{', '.join(_globs())}]", ""),
        }
        return Origin("git", source_name, lines, None)
    host = (parts.hostname or "site").removeprefix("www.").split(".")[0]
    source_name = _checked_name(name or host)
    if parts.scheme in ("http", "https"):
        lines = {
            "start": (f'"{url}"', "only addresses below its folder are read"),
            "max_pages": (str(MAX_PAGES), ""),
            "requests_per_second": (str(REQUESTS_PER_SECOND), "slower if robots.txt says so"),
        }
        return Origin("web", source_name, lines, None)
    lines = {"path": (f'"{url}"', ""), "globs": (f"[{', '.join(_globs())}]", "")}
    return Origin("files", source_name, lines, None)


def _globs() -> Iterator[str]:
    return (f'"**/*{suffix}"' for suffix in SUFFIXES)


def _default_branch(url: str) -> str | None:
    """The branch that HEAD of a Git repository names; None if there is no repository."""
    answer = git.call(
        "ls-remote", "--symref", "--", url, "HEAD", environment={"GIT_TERMINAL_PROMPT": "0"}
    )
    match = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", answer.stdout, re.MULTILINE)
    return match[1] if answer.returncode == 0 and match else None


def _checked_name(text: str) -> str:
    """A name as params.yaml takes it. Raises UserError if it is taken by the sample."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    if not name or not name[0].isalpha():
        name = f"docs_{name}".rstrip("_")
    if name in RESERVED_NAMES:
        raise UserError(f"{name}: the sample uses this name: give another with --name NAME")
    return name
