"""POST /v1/feedback: what an asker thinks of an answer of their own tenant, once for each."""

import time
from typing import Literal

from pydantic import Field
from sqlalchemy import select

from pipelines.gateway import database, placement
from pipelines.gateway.api_errors import AlreadyThere, InvalidRequest, NotFound
from pipelines.gateway.chat_request import MAX_NAME, Body, Text
from pipelines.gateway.database import FEEDBACK, REPEATS, REQUESTS
from pipelines.gateway.keys import Key
from pipelines.gateway.state import Gateway
from pipelines.serving import client

THUMBS = {"up": 1, "down": -1, None: None}
MAX_TEXT = 10_000  # characters


class FeedbackRequest(Body):
    """`request_id` is the answer's header X-Request-Id, which its id holds too."""

    request_id: str = Field(pattern="^(chatcmpl-)?[0-9a-f]{32}$")
    thumb: Literal["up", "down"] | None = None
    correction: Text | None = Field(None, max_length=MAX_TEXT)
    comment: Text | None = Field(None, max_length=MAX_TEXT)
    user: Text | None = Field(None, min_length=1, max_length=MAX_NAME)


def give(gateway: Gateway, key: Key, body: FeedbackRequest) -> str:
    """Write the feedback; returns the request's id. Raises ApiError."""
    if body.thumb is None and not (body.correction or body.comment):
        raise InvalidRequest("feedback needs a thumb, a correction or a comment", param="thumb")
    request_id = body.request_id.removeprefix("chatcmpl-")
    is_own = (REQUESTS.c.id == request_id) & (REQUESTS.c.tenant == key.tenant)
    # Who asks without a name is known by the key.
    asker = placement.asker_of(gateway.secret, key, body.user or f"key {key.id}", "")
    row: dict[str, object] = {
        "request_id": request_id,
        "asker": asker.digest,
        "time": time.time(),
    }
    with gateway.engine.begin() as connection:
        if connection.scalar(select(REQUESTS.c.id).where(is_own)) is None:
            raise NotFound(
                f"there is no request {request_id} of this tenant",
                param="request_id",
                code="request_not_found",
            )
        if not database.insert_if_new(connection, FEEDBACK, row):
            raise AlreadyThere(
                "this asker has given feedback on this request", code="feedback_exists"
            )
        # A repeated answer is the assistant's to the earlier request, which its log has.
        original = select(REPEATS.c.original_id).where(REPEATS.c.request_id == request_id)
        original_id = connection.scalar(original)
        # Last, so that nothing is on record whose file could not be written.
        client.give_feedback(
            original_id or request_id,
            who=f"{key.tenant}/{body.user or key.id}",
            thumb=THUMBS[body.thumb],
            correction=body.correction,
            comment=body.comment,
        )
    return request_id
