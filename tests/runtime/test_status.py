import pytest

from pipelines.runtime.status import (
    TRITON_CODES,
    Status,
    format_user_error,
    from_grpc,
    parse_user_error,
)


@pytest.mark.parametrize("status", list(TRITON_CODES))
@pytest.mark.parametrize("message", ["too late", "rejected: by hand", "two\nlines: failed: x"])
def test_a_users_error_says_how_the_request_ended_whatever_its_message(
    status: Status, message: str
) -> None:
    assert parse_user_error(format_user_error(status, message, "id-1")) is status


def test_an_error_that_is_not_ours_is_a_failure() -> None:
    assert parse_user_error("missing required input(s) ['question']") is Status.FAILED


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVALID_ARGUMENT", Status.REJECTED),
        ("CANCELLED", Status.CANCELLED),
        ("UNIMPLEMENTED", Status.BLOCKED),
        ("ALREADY_EXISTS", Status.OVERLOADED),
        ("UNAVAILABLE", Status.FAILED),
        ("DEADLINE_EXCEEDED", Status.FAILED),
    ],
)
def test_a_grpc_code_says_how_a_request_ended(code: str, status: Status) -> None:
    assert from_grpc(code) is status
