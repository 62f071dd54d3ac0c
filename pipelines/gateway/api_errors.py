"""Errors in the form of OpenAI's API, which its clients turn into exceptions of their own."""

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel


class ErrorFields(BaseModel):
    """For the description of the API."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """For the description of the API."""

    error: ErrorFields


# Which statuses an answer of the API may have instead of 200.
DESCRIPTIONS: dict[int | str, str] = {
    400: "a parameter is wrong or cannot be honoured",
    401: "no valid key",
    403: "the key's role does not allow it",
    404: "there is no such model, request or address",
    405: "no such method",
    408: "the request did not arrive in time",
    409: "it is there already",
    413: "the request is too long",
    429: "a limit is reached; `code` names it, Retry-After says when to try again",
    500: "a mistake of the gateway's",
    503: "the assistant did not answer",
    "default": "any other error",  # without it FastAPI would describe its own status 422
}


class ApiError(Exception):
    """A request that gets no answer. `kind` and `code` are OpenAI's `type` and `code`."""

    kind = "invalid_request_error"
    status = 400

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.code = code
        self.param = param
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        error = {
            "message": str(self),
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status, self.headers)


class InvalidRequest(ApiError):
    """Something in the request is wrong or cannot be honoured; `param` names it."""


class TooLarge(ApiError):
    status = 413


class TooSlow(ApiError):
    status = 408


class NotFound(ApiError):
    status = 404


class WrongMethod(ApiError):
    status = 405


class AlreadyThere(ApiError):
    status = 409


class WrongKey(ApiError):
    """No key, or none that is valid."""

    kind = "authentication_error"
    status = 401


class Forbidden(ApiError):
    """The key's role does not allow it."""

    kind = "permission_error"
    status = 403


class TooMany(ApiError):
    """`code` names the limit; the header Retry-After says when it allows more."""

    kind = "rate_limit_error"
    status = 429


class BudgetSpent(TooMany):
    kind = "insufficient_quota"


class Unavailable(ApiError):
    """The assistant could not answer."""

    kind = "server_error"
    status = 503


class Overload(Unavailable):
    """Too many requests are waiting; the header Retry-After says when to try again."""


class Broken(ApiError):
    """A mistake of ours."""

    kind = "server_error"
    status = 500
