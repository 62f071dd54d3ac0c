"""The routes of files and batches."""

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response

from pipelines.gateway import batches, uploads
from pipelines.gateway.authorization import KEY_SCHEME, key_of
from pipelines.gateway.batches import BatchRequest
from pipelines.gateway.front import UPLOADS
from pipelines.gateway.pages import Order, Page
from pipelines.gateway.state import Gateway

Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Query(min_length=1, max_length=64)]
Purpose = Literal["batch", "batch_output"]
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {uploads.JSON_LINES: {"schema": {"type": "string"}}}}
}


def add(app: FastAPI, gateway: Gateway) -> None:
    """Add them to the application."""
    _add_files(app, gateway)
    _add_batches(app, gateway)


def _add_files(app: FastAPI, gateway: Gateway) -> None:
    @app.post(UPLOADS, dependencies=KEY_SCHEME, openapi_extra=uploads.FORM_DESCRIPTION)
    async def create_file(request: Request) -> dict[str, Any]:
        """Upload the input of a batch: JSON lines."""
        return await uploads.receive(gateway, key_of(request), request)

    @app.get(UPLOADS, dependencies=KEY_SCHEME)
    def list_files(
        request: Request,
        purpose: Purpose | None = None,
        limit: Limit = 100,
        after: After = None,
        order: Order = "desc",
    ) -> dict[str, Any]:
        """The tenant's files."""
        return uploads.list_page(gateway, key_of(request), purpose, Page(limit, after, order))

    @app.get(UPLOADS + "/{file_id}", dependencies=KEY_SCHEME)
    def show_file(request: Request, file_id: str) -> dict[str, Any]:
        """A file's name, size and end."""
        return uploads.show(gateway.files.find(key_of(request).tenant, file_id))

    @app.get(
        UPLOADS + "/{file_id}/content",
        dependencies=KEY_SCHEME,
        responses=CONTENT,
        response_class=Response,
    )
    def read_file(request: Request, file_id: str) -> Response:
        """What is in a file: JSON lines."""
        return uploads.send(gateway, key_of(request), file_id)

    @app.delete(UPLOADS + "/{file_id}", dependencies=KEY_SCHEME)
    def delete_file(request: Request, file_id: str) -> dict[str, Any]:
        """Remove a file with its content."""
        return uploads.delete(gateway, key_of(request), file_id)


def _add_batches(app: FastAPI, gateway: Gateway) -> None:
    @app.post("/v1/batches", dependencies=KEY_SCHEME)
    def create_batch(request: Request, body: BatchRequest) -> dict[str, Any]:
        """Have the requests of a file answered within a day, beside live ones."""
        return batches.create(gateway, key_of(request), body)

    @app.get("/v1/batches", dependencies=KEY_SCHEME)
    def list_batches(request: Request, limit: Limit = 20, after: After = None) -> dict[str, Any]:
        """The tenant's batches, the newest first."""
        return batches.list_page(gateway, key_of(request), Page(limit, after))

    @app.get("/v1/batches/{batch_id}", dependencies=KEY_SCHEME)
    def show_batch(request: Request, batch_id: str) -> dict[str, Any]:
        """How far a batch is, and the files with its results."""
        return batches.show(gateway.batches.find(key_of(request).tenant, batch_id))

    @app.post("/v1/batches/{batch_id}/cancel", dependencies=KEY_SCHEME)
    def cancel_batch(request: Request, batch_id: str) -> dict[str, Any]:
        """Start no more of its requests; the results so far stay."""
        return batches.show(gateway.batches.cancel(key_of(request).tenant, batch_id))
