"""POST /v1/batches and what belongs to it: many requests in a file, worked on beside live ones."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from sqlalchemy import Row

from pipelines.gateway import batch_store
from pipelines.gateway.api_errors import InvalidRequest
from pipelines.gateway.batch_input import Endpoint
from pipelines.gateway.chat_request import Body, Text
from pipelines.gateway.file_store import UPLOAD
from pipelines.gateway.keys import Key
from pipelines.gateway.pages import Page
from pipelines.gateway.state import Gateway

WINDOW = "24h"
MAX_LABELS = 16  # as OpenAI has it
Name = Annotated[Text, StringConstraints(min_length=1, max_length=64)]
Value = Annotated[Text, StringConstraints(max_length=512)]
# Column of the database, and the name of that time in the API, by the batch's status.
END_TIMES = {
    batch_store.COMPLETED: "completed_at",
    batch_store.FAILED: "failed_at",
    batch_store.EXPIRED: "expired_at",
    batch_store.CANCELLED: "cancelled_at",
}


class BatchRequest(Body):
    """The requests are in the file, one a line."""

    input_file_id: Text = Field(min_length=1, max_length=64)
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Annotated[dict[Name, Value], Field(max_length=MAX_LABELS)] | None = None


def create(gateway: Gateway, key: Key, body: BatchRequest) -> dict[str, Any]:
    """A new batch of a file of the key's tenant. Raises ApiError."""
    file = gateway.files.find(key.tenant, body.input_file_id)
    if file.purpose != UPLOAD:
        raise InvalidRequest(
            f"{file.id} has the purpose {file.purpose}; a batch takes a file of purpose {UPLOAD}",
            param="input_file_id",
        )
    values = {
        "input_file_id": file.id,
        "endpoint": body.endpoint,
        "labels": None if body.metadata is None else json.dumps(body.metadata),
    }
    return show(gateway.batches.create(key, values))


def list_page(gateway: Gateway, key: Key, page: Page) -> dict[str, Any]:
    rows = gateway.batches.read_page(key.tenant, page)
    return page.body([show(row) for row in rows])


def show(row: Row[Any]) -> dict[str, Any]:
    """A batch as OpenAI's API gives it."""
    counts = {"total": row.num_lines, "completed": row.num_completed, "failed": row.num_failed}
    times = dict.fromkeys(END_TIMES.values())
    if row.status in END_TIMES:
        times[END_TIMES[row.status]] = _seconds(row.ended)
    return {
        "id": row.id,
        "object": "batch",
        "endpoint": row.endpoint,
        "errors": _errors(row.problems),
        "input_file_id": row.input_file_id,
        "completion_window": WINDOW,
        "status": row.status,
        "output_file_id": row.output_file_id,
        "error_file_id": row.error_file_id,
        "created_at": _seconds(row.created),
        "in_progress_at": _seconds(row.started),
        "expires_at": _seconds(row.expires),
        "cancelling_at": _seconds(row.cancelling),
        **times,
        "request_counts": counts,
        "metadata": None if row.labels is None else json.loads(row.labels),
    }


def _errors(problems: str | None) -> dict[str, Any] | None:
    if problems is None:
        return None
    data = [{**problem, "param": None} for problem in json.loads(problems)]
    return {"object": "list", "data": data}


def _seconds(time: float | None) -> int | None:
    return None if time is None else int(time)
