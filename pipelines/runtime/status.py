"""How a request ended, and how that crosses from one Triton model to another and to the user.

A model that fails sends one of Triton's error codes, and Triton turns it into a gRPC status. The
model that asked therefore learns how the request ended from the code, never from the message.
"""

import re
from enum import StrEnum


class Status(StrEnum):
    """How a request ended, as in the traffic log."""

    OK = "ok"
    FAILED = "failed"
    # A limit or the guard refused the request before it was worked on.
    REJECTED = "rejected"
    # A guard of the asker's tenant is set to block what the request holds.
    BLOCKED = "blocked"
    # Too many requests are waiting; the same one may be answered later.
    OVERLOADED = "overloaded"
    CANCELLED = "cancelled"


# Names of the codes in `triton_python_backend_utils.TritonError`. There is none for what is blocked
# or too much; these two are not otherwise sent in answer to a question.
TRITON_CODES = {
    Status.FAILED: "UNAVAILABLE",
    Status.REJECTED: "INVALID_ARG",
    Status.BLOCKED: "UNSUPPORTED",
    Status.OVERLOADED: "ALREADY_EXISTS",
    Status.CANCELLED: "CANCELLED",
}
# Names of the gRPC status codes that these become on the way.
GRPC_STATUSES = {
    "INVALID_ARGUMENT": Status.REJECTED,
    "UNIMPLEMENTED": Status.BLOCKED,
    "ALREADY_EXISTS": Status.OVERLOADED,
    "CANCELLED": Status.CANCELLED,
}
# HTTP passes on no code, so the message that a user's program gets begins with the status.
# It may stand behind a name of the server's, as in `assistant: failed: ...`.
USER_ERROR = re.compile(rf"(?:^|: )({'|'.join(TRITON_CODES)}): ")


class RequestError(Exception):
    """A request that gets no answer. The message is for people; `status` is for programs."""

    def __init__(self, status: Status, message: str):
        super().__init__(message)
        self.status = status


def from_grpc(code: str) -> Status:
    """The status that a gRPC code stands for; any code that is not ours is a failure."""
    return GRPC_STATUSES.get(code, Status.FAILED)


def format_user_error(status: Status, message: str, request_id: str) -> str:
    """The message that a user's program gets; `parse_user_error` reads it."""
    return f"{status}: {message} (request {request_id})"


def parse_user_error(message: str) -> Status:
    """The status in a message that the server sent; a message without one is a failure."""
    match = USER_ERROR.search(message)  # the first one; a message may quote anything
    return Status(match[1]) if match else Status.FAILED
