"""Which role may do what at a real gateway: every cell of the handbook's table. None answers."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest

from pipelines.gateway.keys import Role
from tests import access_tables
from tests.conftest import enter_new_clone
from tests.gateway.conftest import run_gateway
from tests.gateway.test_front import BODY, CHAT, call, create_key

KEYLESS = "without key"
FEEDBACK = {"request_id": "none", "thumb": "up"}
BATCH = {"input_file_id": "file-none", "endpoint": CHAT, "completion_window": "24h"}
EMBEDDING = {"model": "encoder", "input": ["harbour"]}
# A path, and the body that is sent there.
Request = tuple[str, Any]
REQUESTS: dict[str, list[Request]] = {
    "see whether it runs, and the page and the API's description": [
        *(("/healthz", None), ("/", None), ("/openapi.json", None)),
    ],
    "ask, and have vectors made": [(CHAT, BODY), ("/v1/embeddings", EMBEDDING)],
    "list the models": [("/v1/models", None)],
    "upload files, have batches answered and read the results": [
        *(("/v1/files", b"{}"), ("/v1/files", None), ("/v1/batches", BATCH)),
        *(("/v1/batches", None), ("/v1/files/none/content", None)),
    ],
    "give a thumb or a correction": [("/v1/feedback", FEEDBACK)],
    "read the metrics of the gateway and of the assistant": [
        *(("/metrics", None), ("/metrics/assistant", None)),
    ],
    "see the operator's page and open the pipeline's reports": [
        ("/v1/operator", None),  # with the links to reports, which nobody else gets
    ],
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        enter_new_clone(tmp_path_factory.mktemp("roles") / "clone"),
        run_gateway() as address,
    ):
        yield address


def test_each_role_may_do_what_the_handbook_says_and_no_more(url: str) -> None:
    keys: dict[str, str | None] = {role.value: create_key(role) for role in Role}
    keys[KEYLESS] = None
    table = access_tables.read("At the gateway")
    assert table.keys() == REQUESTS.keys()
    for action, cells in table.items():
        assert cells.keys() == keys.keys()
        for column, is_allowed in cells.items():
            for path, body in REQUESTS[action]:
                status = call(url, path, body, keys[column]).status
                refusal = HTTPStatus.UNAUTHORIZED if column == KEYLESS else HTTPStatus.FORBIDDEN
                assert (status != refusal) == is_allowed, f"{path}: {column} got {status}"
