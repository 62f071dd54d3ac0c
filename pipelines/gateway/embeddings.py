"""POST /v1/embeddings: unit vectors by the encoder of the live release."""

import asyncio
import base64
from typing import Annotated, Any, Literal

from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints

from pipelines.errors import UserError
from pipelines.gateway import accounts, chat, placement
from pipelines.gateway.accounts import Order, Outcome, Tokens
from pipelines.gateway.api_errors import InvalidRequest
from pipelines.gateway.chat_request import MAX_NAME, Body, Text
from pipelines.gateway.keys import Key
from pipelines.gateway.state import CHARACTERS_A_TOKEN, Gateway, api_error, status_of
from pipelines.runtime.status import Status
from pipelines.serving.async_client import Embedding

MODEL = "embedder"
NonEmpty = Annotated[Text, StringConstraints(min_length=1)]


class EmbeddingRequest(Body):
    """Texts; OpenAI's lists of token numbers would be of another encoder's tokens."""

    model: Text = Field(json_schema_extra={"enum": [MODEL]})
    input: NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)]
    encoding_format: Literal["float", "base64"] = "float"
    user: Text | None = Field(None, max_length=MAX_NAME)


async def embed(
    gateway: Gateway, key: Key, request_id: str, body: EmbeddingRequest
) -> JSONResponse:
    """The vectors in the order of the texts. Raises ApiError."""
    return JSONResponse(await _content(gateway, key, request_id, body, is_batched=False))


async def answer_line(
    gateway: Gateway, key: Key, request_id: str, body: EmbeddingRequest
) -> dict[str, Any]:
    """The same for a line of a batch."""
    return await _content(gateway, key, request_id, body, is_batched=True)


async def _content(
    gateway: Gateway, key: Key, request_id: str, body: EmbeddingRequest, *, is_batched: bool
) -> dict[str, Any]:
    chat.check_model(body.model, MODEL)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > gateway.config.max_texts:
        raise InvalidRequest(
            f"the request has {len(texts)} texts; the limit is {gateway.config.max_texts} "
            "(gateway.max_texts)",
            param="input",
        )
    asker = placement.asker_of(gateway.secret, key, body.user, "")
    # A token has at least one byte, so this is never too little.
    most = Tokens(sum(len(text.encode()) + 2 for text in texts))
    reserve = accounts.price(gateway.settings.prices, most)
    order = Order(request_id, key, asker.digest, reserve, is_batched=is_batched)
    embeddings = await _ask(gateway, order, texts)
    num_tokens = sum(item.num_tokens for item in embeddings)
    return {
        "object": "list",
        "model": MODEL,
        "data": [
            {
                "object": "embedding",
                "index": number,
                "embedding": _encode(item.vector, body.encoding_format),
            }
            for number, item in enumerate(embeddings)
        ],
        "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
    }


async def _ask(gateway: Gateway, order: Order, texts: list[str]) -> list[Embedding]:
    """The embeddings, within limits and budget."""
    estimate = sum(len(text) // CHARACTERS_A_TOKEN + 1 for text in texts)
    nothing = accounts.price(gateway.settings.prices, Tokens())
    async with gateway.admit(order, estimate):
        await asyncio.to_thread(gateway.accounts.open, order)
        outcome = Outcome(Status.FAILED, cost=nothing)
        try:
            embeddings = await gateway.assistant.embed(texts)
            _check_whole(embeddings)
            tokens = Tokens(sum(item.num_tokens for item in embeddings))
            cost = accounts.price(gateway.settings.prices, tokens)
            outcome = Outcome(Status.OK, None, tokens, cost)
        except UserError as error:
            outcome = Outcome(status_of(error), cost=nothing)
            raise api_error(error) from error
        finally:
            await gateway.book(order, outcome, estimate)
    return embeddings


def _check_whole(embeddings: list[Embedding]) -> None:
    for number, item in enumerate(embeddings):
        if not item.is_whole:
            raise InvalidRequest(
                f"input[{number}] has {item.num_tokens} tokens, of which the encoder reads only "
                "the first ones: divide it",
                param="input",
                code="context_length_exceeded",
            )


def _encode(vector: Any, encoding_format: str) -> list[float] | str:
    """Numbers, or the bytes of float32 in base64, which OpenAI's client asks for."""
    if encoding_format == "float":
        numbers: list[float] = vector.tolist()
        return numbers
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
