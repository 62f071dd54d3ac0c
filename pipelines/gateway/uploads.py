"""POST /v1/files and what belongs to it: the inputs of batches, and their results."""

import asyncio
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from sqlalchemy import Row
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from pipelines.gateway.api_errors import Forbidden, InvalidRequest
from pipelines.gateway.file_store import UPLOAD
from pipelines.gateway.keys import Key
from pipelines.gateway.pages import Page
from pipelines.gateway.state import Gateway

FORM = "multipart/form-data"
FIELDS = ("file", "purpose")
MAX_FIELDS = 20  # beside the file, so that an unknown one can be named
MAX_FIELD_BYTES = 1024  # of such a field
JSON_LINES = "application/jsonl"
# For the description of the API: the form is read by hand, so that a file that is too long is
# refused while it arrives.
FORM_DESCRIPTION = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": [UPLOAD]},
                    },
                }
            }
        },
    }
}


async def receive(gateway: Gateway, key: Key, request: Request) -> dict[str, Any]:
    """Store an upload. Raises ApiError."""
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise InvalidRequest(f"a file is sent as {FORM}", code="invalid_form")
    try:
        async with request.form(
            max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
        ) as form:
            file = _read_fields(form)
            name = file.filename or ""
            row = await asyncio.to_thread(gateway.files.create, key, name, file.file)
    except ClientDisconnect as error:
        raise InvalidRequest("the client has left") from error
    return show(row)


def _read_fields(form: FormData) -> UploadFile:
    """The file, if nothing else than it and its purpose was sent. Raises InvalidRequest."""
    for name in form:
        if name not in FIELDS:
            raise InvalidRequest(
                f"{name!r}: this parameter is unknown or cannot be honoured here",
                param=str(name),
                code="unsupported_parameter",
            )
    if form.get("purpose") != UPLOAD or len(form.getlist("purpose")) > 1:
        raise InvalidRequest(f"the only purpose of a file here is {UPLOAD}", param="purpose")
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("the form has no file", param="file")
    return file


def list_page(gateway: Gateway, key: Key, purpose: str | None, page: Page) -> dict[str, Any]:
    rows = gateway.files.read_page(key.tenant, purpose, page)
    return page.body([show(row) for row in rows])


def send(gateway: Gateway, key: Key, file_id: str) -> StreamingResponse:
    """The content of a file. Raises NotFound.

    Raises Forbidden for results that were answered to a group to which the key does not belong.
    """
    row = gateway.files.find(key.tenant, file_id)
    if row.batch_id is not None and set(gateway.batches.read_groups(row.batch_id)) - {*key.groups}:
        raise Forbidden(
            "these answers may rest on documents that your groups may not read: ask with a key "
            "of the batch's groups",
            code="groups",
        )
    headers = {"Content-Length": str(row.num_bytes)}
    return StreamingResponse(gateway.files.read(row), media_type=JSON_LINES, headers=headers)


def delete(gateway: Gateway, key: Key, file_id: str) -> dict[str, Any]:
    gateway.files.delete(key.tenant, file_id)
    return {"id": file_id, "object": "file", "deleted": True}


def show(row: Row[Any]) -> dict[str, Any]:
    """A file as OpenAI's API gives it."""
    return {
        "id": row.id,
        "object": "file",
        "bytes": row.num_bytes,
        "created_at": int(row.created),
        "expires_at": int(row.expires),
        "filename": row.name,
        "purpose": row.purpose,
        "status": "processed",
        "status_details": None,
    }
