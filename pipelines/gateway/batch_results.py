"""What a batch's output and error files say about a line, in OpenAI's form."""

import json
from typing import Any

from pipelines.gateway.api_errors import ApiError

EXPIRED = "batch_expired"


def custom_id(request: str) -> str:
    """Of what is stored of a line."""
    name: str = json.loads(request)["custom_id"]
    return name


def success(name: str, request_id: str, body: dict[str, Any]) -> str:
    return _write(name, request_id, _response(200, request_id, body), None)


def refusal(name: str, request_id: str, error: ApiError) -> str:
    response = _response(error.status, request_id, error.body())
    return _write(name, request_id, response, None)


def expiry(name: str, number: int) -> str:
    error = {"code": EXPIRED, "message": "the batch's time was over before this line's turn came"}
    return _write(name, f"none-{number}", None, error)


def _response(status: int, request_id: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"status_code": status, "request_id": request_id, "body": body}


def _write(
    name: str, request_id: str, response: dict[str, Any] | None, error: dict[str, str] | None
) -> str:
    """One line of ASCII, so that its characters are its bytes."""
    content = {
        "id": f"batch_req_{request_id}",
        "custom_id": name,
        "response": response,
        "error": error,
    }
    return json.dumps(content)
