"""The gateway's routes: OpenAI's API, feedback, health, metrics, the page and the docs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from pipelines.errors import UserError
from pipelines.gateway import (
    alerts,
    batch_routes,
    chat,
    database,
    embeddings,
    feedback,
    operator,
    reports,
)
from pipelines.gateway.api_errors import (
    DESCRIPTIONS,
    ApiError,
    Broken,
    ErrorBody,
    InvalidRequest,
    NotFound,
    TooMany,
    Unavailable,
    WrongMethod,
    invalid_request,
)
from pipelines.gateway.authorization import KEY_SCHEME, check_operator, key_of
from pipelines.gateway.batch_runner import BatchRunner
from pipelines.gateway.chat_request import ChatRequest
from pipelines.gateway.embeddings import EmbeddingRequest
from pipelines.gateway.feedback import FeedbackRequest
from pipelines.gateway.front import Front
from pipelines.gateway.state import Gateway
from pipelines.serving import async_client, client

PAGE = Path(__file__).parent / "page"
SWAGGER = Path(fastapi_offline.__file__).parent / "static"
METRICS_TYPE = "text/plain; version=0.0.4"
METRICS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}


def create(gateway: Gateway) -> ASGIApp:
    """The whole application."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(_watch_accounts(gateway))
        runner = BatchRunner(gateway)
        runner.start()
        yield
        await runner.stop()
        watch.cancel()
        await gateway.assistant.close()
        gateway.cache.close()

    responses: dict[int | str, dict[str, Any]] = {}
    for status, description in DESCRIPTIONS.items():
        responses[status] = {"model": ErrorBody, "description": description}
    app = FastAPI(
        title="Assistant",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=responses,
    )
    app.state.gateway = gateway
    _add_error_handlers(app)
    _add_api(app, gateway)
    batch_routes.add(app, gateway)
    _add_operator(app, gateway)
    _add_health(app, gateway)
    _add_pages(app)
    return Front(app, gateway)


def _add_api(app: FastAPI, gateway: Gateway) -> None:
    @app.post("/v1/chat/completions", dependencies=KEY_SCHEME)
    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        """Ask, with the conversation so far."""
        return await chat.complete(gateway, key_of(request), request.state.request_id, body)

    @app.post("/v1/embeddings", dependencies=KEY_SCHEME)
    async def create_embeddings(request: Request, body: EmbeddingRequest) -> Response:
        """Unit vectors of texts, by the encoder of the live release."""
        return await embeddings.embed(gateway, key_of(request), request.state.request_id, body)

    @app.post("/v1/feedback", dependencies=KEY_SCHEME)
    def give_feedback(request: Request, body: FeedbackRequest) -> dict[str, str]:
        """Say what an answer was worth."""
        return {"request_id": feedback.give(gateway, key_of(request), body), "object": "feedback"}

    @app.get("/v1/models", dependencies=KEY_SCHEME)
    async def list_models() -> dict[str, object]:
        """The names that `model` may have."""
        models = [_model(chat.MODEL), _model(embeddings.MODEL)]
        return {"object": "list", "data": models}

    @app.get("/v1/models/{name}", dependencies=KEY_SCHEME)
    async def show_model(name: str) -> dict[str, object]:
        """One of them."""
        chat.check_model(name, chat.MODEL, embeddings.MODEL)
        return _model(name)

    @app.get("/metrics", dependencies=KEY_SCHEME, responses=METRICS)
    def metrics(request: Request) -> Response:
        """Prometheus text, for keys of role operator."""
        check_operator(request)
        return Response(gateway.metrics.text(), media_type=METRICS_TYPE)

    @app.get("/metrics/assistant", dependencies=KEY_SCHEME, responses=METRICS)
    def assistant_metrics(request: Request) -> Response:
        """The same of the assistant and its Triton, whose ports change with each start."""
        check_operator(request)
        try:
            text = client.find_server().metrics()
        except (UserError, OSError) as error:
            raise Unavailable(f"the assistant's metrics cannot be read: {error}") from error
        return Response(text, media_type=METRICS_TYPE)


def _add_operator(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/operator", dependencies=KEY_SCHEME)
    def show_overview(request: Request) -> dict[str, Any]:
        """What the operator's page shows, for keys of role operator."""
        check_operator(request)
        return operator.overview(gateway, key_of(request))

    @app.get("/operator", include_in_schema=False)
    async def operator_page() -> FileResponse:
        return FileResponse(PAGE / "operator.html")

    @app.get(reports.PREFIX + "/{ticket}/{path:path}", include_in_schema=False)
    def show_report(ticket: str, path: str) -> FileResponse:
        return reports.show(gateway, ticket, path)


async def _watch_accounts(gateway: Gateway) -> None:
    while True:
        await asyncio.to_thread(gateway.settlement.look_now_and_then)
        await asyncio.to_thread(gateway.alerts.look)
        await asyncio.sleep(alerts.LOOK_SECONDS)


def _add_health(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the gateway runs."""
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        """Whether a question can be answered now; 503 with what is missing."""
        problems = _problems(gateway)
        content = {"status": "not ready" if problems else "ok", "problems": problems}
        return JSONResponse(content, 503 if problems else 200)


def _problems(gateway: Gateway) -> list[str]:
    """What keeps the gateway from answering; only kinds, since everybody may look."""
    problems: list[str] = []
    try:
        with database.reading(gateway.engine) as connection:
            connection.scalar(select(1))
    except SQLAlchemyError:
        problems.append("database")
    try:
        server = client.find_server()
        if not server.is_ready():
            problems.append("assistant")
        if not client.is_external():
            async_client.live_release()
    except UserError:
        problems.append("release")
    return problems


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html")

    app.mount("/page", StaticFiles(directory=PAGE))
    app.mount("/docs", StaticFiles(directory=SWAGGER))


def _add_error_handlers(app: FastAPI) -> None:
    """Every error in OpenAI's form."""

    @app.exception_handler(ApiError)
    async def show(request: Request, error: ApiError) -> Response:
        if isinstance(error, TooMany):
            request.app.state.gateway.metrics.count_refusal(error.code or "")
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def show_invalid(_request: Request, error: RequestValidationError) -> Response:
        problem = error.errors()[0]
        return invalid_request({**problem, "loc": problem["loc"][1:]}).response()

    @app.exception_handler(HTTPException)
    async def show_http(request: Request, error: HTTPException) -> Response:
        what = f"{request.method} {request.url.path}"
        if error.status_code == WrongMethod.status:
            return WrongMethod(
                f"{what}: no such method", headers=dict(error.headers or {})
            ).response()
        if error.status_code == NotFound.status:
            return NotFound(f"{what}: no such address", code="unknown_url").response()
        return InvalidRequest(str(error.detail)).response()

    @app.exception_handler(Exception)
    async def show_broken(request: Request, _error: Exception) -> Response:
        request_id = request.state.request_id
        return Broken(f"the gateway failed; its log has request {request_id}").response()


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "assistant-pipeline"}
