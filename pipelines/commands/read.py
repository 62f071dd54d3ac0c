"""Show what the pipeline makes of one file or web page: text, losses, redactions, passages.

python -m pipelines read data/raw/handbook/setup.md
python -m pipelines read https://example.org/guide.html

The first thing to try when an answer is wrong. The file is read, redacted and cut with the values
of params.yaml, as a run would; nothing of the run's own data changes. The page that is written
beside the output shows the source and its text side by side.
"""

import argparse
import base64
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipelines import files
from pipelines.config import params
from pipelines.config.chunk import ChunkConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.fetch import FetchConfig
from pipelines.config.ingest import FilesSource, IngestConfig, WebSource
from pipelines.config.params import Params
from pipelines.config.redact import RedactConfig
from pipelines.corpus import detection, intake, losses, pii
from pipelines.corpus.losses import Loss
from pipelines.corpus.snapshots import is_remote
from pipelines.corpus.sources import SourceDocument
from pipelines.corpus.web_site import open_site
from pipelines.errors import UserError
from pipelines.pages import render
from pipelines.stages.chunk import cut_document, sizes_of
from pipelines.system import paths
from pipelines.system.cache import open_cache
from pipelines.vectorstore import load_tokenizer, locate_encoder

SOURCE = "read"  # name of the source that the file stands for
MAX_EMBEDDED_BYTES = 20 << 20  # of a PDF in the page
MAX_SOURCE_CHARACTERS = 500_000  # of a source that the page shows as text
# A page inside the page: it is shown, and fetches and runs nothing.
NO_REQUESTS = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
)


@dataclass(frozen=True)
class Reading:
    """What became of a document. Without a row it is rejected, and `rejection` says why."""

    row: dict[str, Any] | None  # of documents.parquet, redacted
    rejection: str | None
    loss: Loss | None
    redactions: list[dict[str, Any]]  # of redactions.parquet
    passages: list[dict[str, Any]]  # of chunks.parquet, with `text`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("document", metavar="FILE|URL")
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="where the page is written (default: .state/read.html)",
    )


def run(document: str, page: Path | None = None) -> int:
    """Print the reading and write its page. The exit code is 1 if the document is rejected."""
    values = params.load()
    source = _fetch(document, values) if _is_url(document) else _open(document, values)
    origin = None if _is_url(document) else _find_origin(Path(document), values)
    reading = read(source, values, origin)
    _print(document, reading)
    target = page or paths.state_folder() / "read.html"
    files.write_text(target, render_page(document, source.content, reading))
    print(f"\nsource and text side by side: {target}")
    return 0 if reading.row else 1


def read(source: SourceDocument, values: Params, origin: FilesSource | None = None) -> Reading:
    """Read, redact and cut one document, with a cache of its own.

    `origin`: the source that it belongs to, which may name its readers.
    """
    config = values.section(IngestConfig)
    if origin is not None:
        own_source = origin.model_copy(update={"name": SOURCE})
        config = config.model_copy(update={"sources": [own_source]})
    with tempfile.TemporaryDirectory() as folder:
        cache_file = Path(folder) / "work.sqlite"
        with open_cache(cache_file, intake.cache_kind(config)) as cache:
            result = intake.take_in([(SOURCE, source)], config, cache)
            rows = list(intake.document_rows(result, cache))
    if not rows:
        (rejection,) = result.rejections
        why = f"{rejection['reason']} (stage {rejection['stage']})"
        return Reading(None, why, None, [], [])
    (row,) = rows
    changes, redactions = pii.redact_document(pii.load(values.section(RedactConfig)), row)
    row |= changes
    loss = next(iter(losses.by_document(result.left_out)), None)
    return Reading(row, None, loss, redactions, _cut(row, values))


def _cut(row: dict[str, Any], values: Params) -> list[dict[str, Any]]:
    encoder = values.section(EncoderConfig)
    tokenizer = load_tokenizer(locate_encoder(encoder.model, encoder.revision))
    passages = cut_document(row, tokenizer, sizes_of(values.section(ChunkConfig)))
    for passage in passages:
        passage["text"] = row["text"][passage["start"] : passage["end"]]
    return passages


def _is_url(document: str) -> bool:
    return urlsplit(document).scheme in ("http", "https")


def _open(document: str, values: Params) -> SourceDocument:
    path = Path(document)
    if not path.is_file():
        raise UserError(f"{document}: is no file and no http(s) URL: name one of them")
    max_mib = values.section(IngestConfig).limits.max_document_mib
    size = path.stat().st_size
    if size > max_mib << 20:
        raise UserError(
            f"{document}: has {size:,} bytes; params.yaml: ingest.limits.max_document_mib "
            f"({max_mib}) allows fewer"
        )
    return SourceDocument(f"{SOURCE}/{path.name}", path.read_bytes())


def _find_origin(file: Path, values: Params) -> FilesSource | None:
    """The source of params.yaml that reads a file."""
    for source in values.section(IngestConfig).sources:
        if isinstance(source, FilesSource) and not is_remote(source):
            folder = Path(source.path)
            for glob in source.globs:
                if any(path.samefile(file) for path in folder.glob(glob) if path.is_file()):
                    return source
    return None


def _fetch(url: str, values: Params) -> SourceDocument:
    """The page as `fetch` would get it. Raises UserError if it cannot be had."""
    source = WebSource(kind="web", name=SOURCE, start=url, max_pages=1, requests_per_second=10)
    max_bytes = values.section(IngestConfig).limits.max_document_mib << 20
    allowed_hosts = tuple(values.section(FetchConfig).allowed_hosts)
    with open_site(source, allowed_hosts, max_bytes) as site:
        page = site.get(url)
    if page.content is None:
        raise UserError(f"{url}: {page.problem or 'gave no content'}")
    name = urlsplit(url).path.rsplit("/", 1)[-1] or "index.html"
    return SourceDocument(f"{SOURCE}/{name}", page.content, hint=page.media_type)


def _print(document: str, reading: Reading) -> None:
    if reading.row is None:
        print(f"{document}: rejected: {reading.rejection}")
        return
    print("\n".join(f"{name:10} {value}" for name, value in facts(document, reading)))
    for redaction in reading.redactions:
        print(f"  line {redaction['line']}: {_context(redaction)} ({redaction['why']})")
    for number, passage in enumerate(reading.passages, start=1):
        print(f"\n--- passage {number}: {describe(passage)}")
        if passage["table_head"]:
            print(f"(head of the table: {passage['table_head']})")
        print(passage["text"])


def facts(document: str, reading: Reading) -> list[tuple[str, str]]:
    """(name, value) of what is known about a document that is not rejected."""
    row = reading.row
    assert row is not None
    num_pages = len(row["pages"])
    loss = reading.loss
    lost = "nothing"
    if loss is not None:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in loss.by_kind.items())
        lost = f"{loss.share:.1%} of its text; characters by kind: {kinds}"
    return [
        ("document", document),
        ("type", row["media_type"]),
        ("title", row["title"] or "none"),
        ("language", row["language"]),
        ("text", f"{len(row['text']):,} characters, {len(row['sections'])} headings"),
        ("pages", str(num_pages) if num_pages else "none"),
        ("readers", ", ".join(row["readers"])),
        ("left out", lost),
        ("redacted", f"{len(reading.redactions)} places"),
        ("passages", str(len(reading.passages))),
    ]


def describe(passage: dict[str, Any]) -> str:
    """Headings, pages and length of a passage."""
    parts = [" > ".join(passage["headings"]) or "no heading"]
    if passage["pages"]:
        parts.append(f"page {', '.join(map(str, passage['pages']))}")
    return f"{', '.join(parts)}, {passage['num_tokens']} tokens"


def _context(redaction: dict[str, Any]) -> str:
    words = redaction["before"] + redaction["replacement"] + redaction["after"]
    return " ".join(words.split())


def render_page(document: str, content: bytes, reading: Reading) -> str:
    """The source beside its text."""
    redactions = [(item, _context(item)) for item in reading.redactions]
    passages = [(describe(item), item) for item in reading.passages]
    return render(
        "read.html.j2",
        document=document,
        rejection=reading.rejection,
        facts=facts(document, reading) if reading.row else [],
        redactions=redactions,
        passages=passages,
        source=_show_source(content, reading),
    )


def _show_source(content: bytes, reading: Reading) -> dict[str, str]:
    """How the page shows the source: `kind` is html, pdf, text or none."""
    media_type = reading.row["media_type"] if reading.row else None
    if media_type == detection.PDF and len(content) <= MAX_EMBEDDED_BYTES:
        return {"kind": "pdf", "value": base64.b64encode(content).decode()}
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return {"kind": "none", "value": ""}
    if media_type == detection.HTML:
        return {"kind": "html", "value": NO_REQUESTS + text}
    return {"kind": "text", "value": text[:MAX_SOURCE_CHARACTERS]}
