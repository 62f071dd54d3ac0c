"""The pipeline's HTML reports, for operators.

A browser that follows a link cannot send a key, so a link holds a ticket that the operator's key
was exchanged for: it ends after TICKET_SECONDS, and with the key. A report is shown without the
gateway's origin (CSP `sandbox`), so that no script in it reaches the key in the session storage.
"""

import hmac
import re
import time
from pathlib import Path
from typing import Any

from fastapi.responses import FileResponse
from sqlalchemy import select

from pipelines.decision import release_page
from pipelines.gateway import database
from pipelines.gateway.api_errors import NotFound
from pipelines.gateway.database import KEYS
from pipelines.gateway.keys import Key, Role
from pipelines.gateway.state import Gateway

FOLDER = Path("data/reports")
PREFIX = "/reports"
TICKET_SECONDS = 900
NEVER = float("inf")  # the end of a key that has none
TITLE = re.compile(rb"<title>(.*?)</title>", re.DOTALL)
TITLE_BYTES = 8192  # of a file, in which its title is looked for
# Of what pages are made of; a report's own data is not among them.
SUFFIXES = {".html", ".css", ".js", ".png", ".svg", ".ico", ".gif", ".woff", ".woff2", ".ttf"}


def links(gateway: Gateway, key: Key) -> list[dict[str, Any]]:
    """Title, address and time of every page; of a folder its index."""
    folder = gateway.clone / FOLDER
    pages = [*sorted(folder.glob("*.html")), *sorted(folder.glob("*/index.html"))]
    return [
        {
            "title": _title(page),
            "path": page.relative_to(folder).as_posix(),
            "url": _address(gateway, key, page.relative_to(folder)),
            "time": page.stat().st_mtime,
        }
        for page in pages
    ]


def link_to_release(gateway: Gateway, key: Key, release_id: str) -> str | None:
    """The address of a release's page; None if this clone has not written it."""
    page = release_page.FOLDER.relative_to(FOLDER) / f"{release_id}.html"
    if not (gateway.clone / FOLDER / page).exists():
        return None
    return _address(gateway, key, page)


def _address(gateway: Gateway, key: Key, page: Path) -> str:
    ticket = _ticket(gateway, key.id, int(time.time()) + TICKET_SECONDS)
    return f"{PREFIX}/{ticket}/{page.as_posix()}"


def show(gateway: Gateway, ticket: str, path: str) -> FileResponse:
    """A file of the reports. Raises NotFound if the ticket or the path is not right."""
    folder = (gateway.clone / FOLDER).resolve()
    file = (folder / path).resolve()
    is_page = file.is_relative_to(folder) and file.suffix in SUFFIXES and file.is_file()
    if not _is_valid(gateway, ticket) or not is_page:
        raise NotFound(
            "there is no such report, or its link has ended: open it from /operator again",
            code="unknown_url",
        )
    return FileResponse(file)


def _ticket(gateway: Gateway, key_id: str, ends: int) -> str:
    text = f"{key_id}-{ends}"
    seal = hmac.digest(gateway.secret, f"report {text}".encode(), "sha256").hex()
    return f"{text}-{seal}"


def _is_valid(gateway: Gateway, ticket: str) -> bool:
    """Whether this gateway's secret has sealed it, it has not ended, and its key is valid."""
    key_id, _, rest = ticket.partition("-")
    ends, _, _seal = rest.partition("-")
    if not (ends.isascii() and ends.isdigit()) or int(ends) < time.time():
        return False
    if not hmac.compare_digest(_ticket(gateway, key_id, int(ends)).encode(), ticket.encode()):
        return False
    query = select(KEYS).where(KEYS.c.id == key_id, KEYS.c.role == Role.OPERATOR.value)
    with database.reading(gateway.engine) as connection:
        row = connection.execute(query).one_or_none()
    return row is not None and row.revoked is None and (row.expires or NEVER) > time.time()


def _title(page: Path) -> str:
    with page.open("rb") as file:
        match = TITLE.search(file.read(TITLE_BYTES))
    return match[1].decode(errors="replace").strip() if match else page.name
