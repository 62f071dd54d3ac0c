"""Asks the served assistant from an event loop, many requests at once on one connection.

The server is the one that client.py finds. `make serve` may start it anew on other ports, so it is
looked up for each request.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import Unreachable
from pipelines.runtime.status import from_grpc
from pipelines.serving import client, live_routes
from pipelines.serving.client import MODEL, SLACK_SECONDS, Answer, AskError, Question

if TYPE_CHECKING:
    from tritonclient.grpc.aio import InferenceServerClient

EMBED_SECONDS = 30.0
EMBEDDER = "embedder"
# Errors with gRPC's status code, not as a text alone.
WITH_CODES = {"triton_grpc_error": "true"}


@dataclass(frozen=True)
class Piece:
    """Text since the last piece, and the release that writes it."""

    text: str
    release_id: str


@dataclass(frozen=True)
class Embedding:
    """The unit vector of a text, which has so many tokens.

    `is_whole`: the encoder reads all of them.
    """

    vector: Any  # float32, shape (dimensions,)
    num_tokens: int
    is_whole: bool


class Assistant:
    """Connections to the live server, kept while its address stays the same."""

    def __init__(self) -> None:
        self._clients: dict[str, InferenceServerClient] = {}

    async def stream(
        self, question: Question, *, has_pieces: bool = True
    ) -> AsyncIterator[Piece | Answer]:
        """Pieces as they come if they are wanted, then the whole Answer.

        Closing it cancels the request.

        Raises AskError with the server's message, and UserError if no server is known.
        """
        import grpc

        seconds = question.timeout_seconds + SLACK_SECONDS
        requests = _requests(question, has_pieces=has_pieces)
        call = self._client().stream_infer(requests, seconds, WITH_CODES)
        try:
            async for result, error in call:
                if error is not None:
                    raise AskError(str(error))
                piece = client.plain_outputs(result, client.PIECE_OUTPUTS)
                # An answer that is not streamed is one piece, besides.
                if has_pieces and piece["piece"]:
                    yield Piece(str(piece["piece"]), str(piece["release_id"]))
                if piece["final"]:
                    yield client.read_answer(client.plain_outputs(result))
                    return
            raise AskError("the server ended without an answer")
        except grpc.aio.AioRpcError as error:
            raise AskError(error.details() or "", from_grpc(error.code().name)) from error
        finally:
            call.cancel()

    async def embed(self, texts: list[str]) -> list[Embedding]:
        """The embeddings of texts by the encoder of the live release, in their order.

        Raises AskError with the server's message, and UserError if no server or release is live.
        """
        import numpy as np
        from tritonclient.grpc import InferInput
        from tritonclient.utils import InferenceServerException

        rows = np.array([[text.encode()] for text in texts], dtype=np.object_)
        tensor = InferInput("text", [len(texts), 1], "BYTES")
        tensor.set_data_from_numpy(rows)
        try:
            result = await self._client().infer(
                embedding_model(), [tensor], client_timeout=EMBED_SECONDS
            )
        except InferenceServerException as error:
            code = (error.status() or "").removeprefix("StatusCode.")
            raise AskError(error.message() or str(error), from_grpc(code)) from error
        vectors = result.as_numpy("vector")
        counts = result.as_numpy("num_tokens").reshape(-1)
        marks = result.as_numpy("is_whole").reshape(-1)
        embeddings: list[Embedding] = []
        for vector, num_tokens, is_whole in zip(vectors, counts, marks, strict=True):
            embeddings.append(Embedding(vector, int(num_tokens), bool(is_whole)))
        return embeddings

    async def close(self) -> None:
        """End the connections."""
        for connection in self._clients.values():
            await connection.close()
        self._clients.clear()

    def _client(self) -> "InferenceServerClient":
        from tritonclient.grpc.aio import InferenceServerClient

        server = client.find_server()
        address = f"{server.host}:{server.grpc_port}"
        if address not in self._clients:
            self._clients[address] = InferenceServerClient(address)
        return self._clients[address]


def embedding_model() -> str:
    """The model that makes vectors; a Triton elsewhere serves one release, as in its container."""
    return EMBEDDER if client.is_external() else f"{EMBEDDER}-{live_release()}"


def live_release() -> str:
    """The release that answers most requests. Raises Unreachable if none does."""
    shares = live_routes.read().shares
    if not shares:
        raise Unreachable("no release is live here")
    return max(shares, key=lambda route: route[1])[0]


async def _requests(question: Question, *, has_pieces: bool) -> AsyncIterator[dict[str, Any]]:
    """The one request of a stream."""
    inputs = client.grpc_inputs(question, is_streamed=has_pieces)
    yield {"model_name": MODEL, "inputs": inputs}
