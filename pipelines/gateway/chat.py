"""POST /v1/chat/completions: a conversation in, an answer with its citations out.

A citation is an annotation of OpenAI's kind `url_citation`, with the passage beside it. It points
at its mark `[n]` where the answer has it, otherwise at the answer's end.
"""

import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Send

from pipelines.gateway import conversation, placement, stopping
from pipelines.gateway.accounts import Order, with_conversation
from pipelines.gateway.api_errors import ApiError, InvalidRequest, NotFound
from pipelines.gateway.chat_request import ChatRequest
from pipelines.gateway.guards import GuardedQuestion
from pipelines.gateway.keys import Key
from pipelines.gateway.state import Gateway
from pipelines.serving.async_client import Piece
from pipelines.serving.client import Answer, Question

MODEL = "assistant"
END = "data: [DONE]\n\n"
Parts = AsyncIterator[Piece | Answer]


@dataclass(frozen=True)
class Frame:
    """What all chunks of an answer, and the whole of it, have in common."""

    request_id: str
    release_id: str
    time: int  # seconds since 1970
    max_new_tokens: int
    is_repeated: bool = False  # it is the answer to an earlier request

    def body(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.request_id}",
            "object": kind,
            "created": self.time,
            "model": MODEL,
            "system_fingerprint": self.release_id,
            **fields,
        }

    def finish_reason(self, answer: Answer) -> str:
        if answer.is_blocked:
            return "content_filter"
        if answer.is_cut:
            return "stop"
        return "length" if answer.num_new_tokens >= self.max_new_tokens else "stop"

    def usage(self, answer: Answer) -> dict[str, int]:
        """What the request is charged for."""
        prompt = 0 if self.is_repeated else answer.num_prompt_tokens
        new = 0 if self.is_repeated else answer.num_new_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": new,
            "total_tokens": prompt + new,
        }


class EventStream(StreamingResponse):
    """Server-sent events, whose source is closed as soon as the client has left."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], parts: Parts, headers: dict[str, str]):
        super().__init__(events, headers=headers)
        self._parts = parts

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            await self._parts.aclose()  # type: ignore[attr-defined]


class Opening(NamedTuple):
    """An answer whose first part has come."""

    frame: Frame
    first: Piece | Answer
    parts: Parts
    headers: dict[str, str]


async def complete(gateway: Gateway, key: Key, request_id: str, body: ChatRequest) -> Response:
    """The whole answer, or a stream of events. Raises ApiError."""
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options is for `stream: true` alone", param="stream_options")
    opening = await _open(gateway, await _order(gateway, key, request_id, body), body)
    if body.stream:
        has_usage = body.stream_options is not None and body.stream_options.include_usage
        events = _events(opening, has_usage=has_usage)
        return EventStream(events, opening.parts, opening.headers)
    return JSONResponse(await _completion(opening), headers=opening.headers)


async def answer_line(
    gateway: Gateway, key: Key, request_id: str, body: ChatRequest
) -> dict[str, Any]:
    """The whole answer to a line of a batch. Raises ApiError."""
    if body.stream or body.stream_options is not None:
        raise InvalidRequest("a line of a batch is answered whole, not streamed", param="stream")
    order, guarded_question = await _order(gateway, key, request_id, body)
    batched_order = replace(order, is_batched=True)
    return await _completion(await _open(gateway, (batched_order, guarded_question), body))


async def _open(
    gateway: Gateway, request: tuple[Order, GuardedQuestion], body: ChatRequest
) -> Opening:
    """Ask, and wait for the first part, so that an error before it has its own status."""
    order, guarded_question = request
    question = guarded_question.question
    lookup = await gateway.cache.find(question)
    if lookup.answer is None:
        parts = gateway.ask(order, guarded_question, lookup, is_streamed=bool(body.stream))
    else:
        parts = gateway.repeat(order, guarded_question, lookup.answer)
    if body.stops():
        parts = stopping.cut(parts, body.stops())
    first = await anext(parts)
    most = question.max_new_tokens or gateway.settings.export.max_new_tokens
    is_repeated = lookup.answer is not None
    frame = Frame(order.id, first.release_id, int(time.time()), most, is_repeated)
    headers = {"x-release-id": frame.release_id, **lookup.headers()}
    return Opening(frame, first, parts, headers)


def check_model(name: str, *models: str) -> None:
    """Raises NotFound with OpenAI's code unless the name is that of one of these models."""
    if name not in models:
        raise NotFound(
            f"there is no model {name!r} here; `GET /v1/models` lists them",
            param="model",
            code="model_not_found",
        )


async def _order(
    gateway: Gateway, key: Key, request_id: str, body: ChatRequest
) -> tuple[Order, GuardedQuestion]:
    """What is put on record, and what the assistant is asked."""
    check_model(body.model, MODEL)
    if len(body.messages) > gateway.config.max_messages:
        raise InvalidRequest(
            f"the conversation has {len(body.messages)} messages; the limit is "
            f"{gateway.config.max_messages} (gateway.max_messages)",
            param="messages",
        )
    questions = body.questions()
    text = conversation.condense(questions, gateway.settings.export.max_question_characters)
    asker = placement.asker_of(gateway.secret, key, body.user, questions[0])
    question = Question(
        text,
        tenant=key.tenant,
        groups=key.groups,
        request_id=request_id,
        max_new_tokens=body.num_new_tokens(),
        timeout_seconds=gateway.config.answer_seconds,
        position=asker.position,
    )
    order = Order(request_id, key, asker.digest, gateway.reserve(question.max_new_tokens))
    guarded_question = await gateway.guards.check_question(question)
    if text != questions[-1]:
        last_question = await gateway.guards.redact(key.tenant, questions[-1])
        order = with_conversation(order, last_question, guarded_question.question.text)
    return order, guarded_question


async def _completion(opening: Opening) -> dict[str, Any]:
    """The whole answer."""
    frame = opening.frame
    answer = opening.first
    async for part in opening.parts:
        answer = part
    assert isinstance(answer, Answer)
    message = {
        "role": "assistant",
        "content": answer.text,
        "refusal": None,
        "annotations": annotations(answer),
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": frame.finish_reason(answer),
    }
    return frame.body("chat.completion", choices=[choice], usage=frame.usage(answer))


async def _events(opening: Opening, *, has_usage: bool) -> AsyncIterator[str]:
    """Chunks of OpenAI's stream. An error in the middle is an event of its own."""
    frame, part, parts, _ = opening
    chunks = _Chunks(frame, has_usage=has_usage)
    yield chunks.delta({"role": "assistant", "content": ""})
    try:
        if isinstance(part, Piece):
            yield chunks.delta({"content": part.text})
        async for part in parts:
            if isinstance(part, Piece):
                yield chunks.delta({"content": part.text})
    except ApiError as error:
        yield _event(error.body())
        return
    assert isinstance(part, Answer)
    yield chunks.delta({"annotations": annotations(part)}, frame.finish_reason(part))
    if has_usage:
        yield _event(frame.body("chat.completion.chunk", choices=[], usage=frame.usage(part)))
    yield END


class _Chunks:
    """Writes the chunks of a stream."""

    def __init__(self, frame: Frame, *, has_usage: bool):
        self._frame = frame
        self._usage = {"usage": None} if has_usage else {}

    def delta(self, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        body = self._frame.body("chat.completion.chunk", choices=[choice], **self._usage)
        return _event(body)


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def annotations(answer: Answer) -> list[dict[str, Any]]:
    """The passages that an answer cites, the first of which is `[1]`."""
    notes: list[dict[str, Any]] = []
    for number, passage in enumerate(answer.citations, start=1):
        mark = re.search(rf"\[{number}\]", answer.text)
        start, end = mark.span() if mark else (len(answer.text), len(answer.text))
        citation = {
            "url": passage["uri"],
            "title": passage.get("title") or passage["uri"],
            "start_index": start,
            "end_index": end,
        }
        notes.append({"type": "url_citation", "url_citation": citation, "passage": passage})
    return notes
