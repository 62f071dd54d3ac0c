"""Errors in the form of OpenAI's API, which its clients turn into exceptions of their own."""

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

ROLES = ("user", "assistant", "system", "developer")  # pydantic names the kind of a message


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
    401: "no valid key or token",
    403: "the role does not allow it, or a token's claims name no tenant or role",
    404: "there is no such model, request, file, batch or address",
    405: "no such method",
    408: "the request did not arrive in time",
    409: "it is there already, or has ended",
    413: "the request is too long",
    429: "a limit is reached; `code` names it, Retry-After says when to try again",
    500: "a mistake of the gateway's",
    503: "the assistant did not answer, or the issuer of tokens cannot be asked for its keys",
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
    """No key or token, or none that is valid."""

    kind = "authentication_error"
    status = 401


class Forbidden(ApiError):
    """The role does not allow it, or there is none."""

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


def invalid_request(problem: Mapping[str, Any]) -> InvalidRequest:
    """A problem that pydantic noticed, with the parameter's name."""
    kind = problem["type"]
    if kind == "json_invalid":
        return InvalidRequest("the body is not valid JSON", code="invalid_json")
    location = [str(part) for part in problem["loc"]]
    param = ".".join(part for part in location if not _names_type(part)) or None
    if kind == "extra_forbidden":
        message = f"{param}: this parameter is unknown or cannot be honoured here"
        return InvalidRequest(message, param=param, code="unsupported_parameter")
    return InvalidRequest(f"{param or 'the body'}: {problem['msg']}", param=param, code=kind)


def _names_type(part: str) -> bool:
    """Whether pydantic has named a type here, of several that a value may have."""
    return part in (*ROLES, "str") or part.startswith(("function-", "list["))
