"""How a request ends is told by codes: every message in the code inside Triton is changed here."""

import ast
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.serve import ServeConfig
from pipelines.contracts.release import ReleaseRecord
from pipelines.serving import client, live_routes, live_server, locations, recent_traffic
from pipelines.serving.client import AskError, Question
from pipelines.serving.triton_connection import Triton
from pipelines.vectorstore import build_index, point_alias, remove_alias, server_address
from tests.serving.conftest import SERVE, change_settings

pytestmark = pytest.mark.slow
MESSAGE = re.compile(r"[a-z'] [a-z]")  # two words
PLACEHOLDER = "lorem ipsum"
ENDLESS = 2000  # tokens of the longest answer, which does not end by itself
NEVER = 99_999  # a token beyond those that the model can write


class MessageChanger(ast.NodeTransformer):
    """Replaces every text of two words or more, save for docstrings."""

    def __init__(self) -> None:
        self.num_changes = 0

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        is_docstring = isinstance(node.value, ast.Constant)
        return node if is_docstring else self.generic_visit(node)  # type: ignore[return-value]

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if isinstance(node.value, str) and MESSAGE.search(node.value):
            self.num_changes += 1
            return ast.Constant(PLACEHOLDER)
        return node


def change_messages(repository: Path) -> int:
    """Change the code of all models; returns the number of changes."""
    changer = MessageChanger()
    for path in repository.glob("*/*/runtime/*.py"):
        tree = changer.visit(ast.parse(path.read_text()))
        path.write_text(ast.unparse(ast.fix_missing_locations(tree)))
    return changer.num_changes


@pytest.fixture(scope="module")
def triton(serving: Path, models: Path, export: Callable[..., ReleaseRecord]) -> Iterator[Triton]:
    """A live server of one release. All messages are changed, and answers do not end."""
    receipt = build_index(
        models / "chunks.parquet", models / "vectors.parquet", keep=3, sample=4, hybrid_alpha=0.7
    )
    repository = Path("export")
    export(repository, receipt, "r-one", max_new_tokens=ENDLESS)
    change_settings(repository / "generator/1/settings.json", max_new_tokens=ENDLESS)
    weights = repository / "generator/1/weights"
    change_settings(weights / "tokenizer_config.json", eos_token="<never>")
    change_settings(weights / "generation_config.json", eos_token_id=NEVER)
    assert change_messages(repository) > 100
    live_server.install(repository, "r-one")
    point_alias(live_server.alias("r-one"), receipt.collection)
    with pytest.MonkeyPatch.context() as patch, server_address() as environment:
        write_entry = live_server.write_entry

        def write_changed_entry(config: ServeConfig) -> None:
            write_entry(config)
            change_messages(locations.repository())

        patch.setattr(live_server, "write_entry", write_changed_entry)
        with live_server.hold(SERVE, ["r-one"], environment) as server:
            live_routes.write([("r-one", 1.0)])
            yield server


def row_of(request_id: str) -> dict[str, Any]:
    """The row of a request, as soon as it is in the traffic log."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for row in recent_traffic.requests(locations.traffic_folder(), 0.0):
            if row["request_id"] == request_id:
                return row
        time.sleep(0.1)
    raise AssertionError(f"{request_id} is not in the log")


@pytest.mark.parametrize(
    ("question", "status"),
    [
        (Question("  ", request_id="empty"), "rejected"),
        (Question("x" * 301, request_id="long-question"), "rejected"),
        (Question("word " * 59, request_id="long-prompt"), "rejected"),
        (Question("a", request_id="many-tokens", max_new_tokens=ENDLESS + 1), "rejected"),
        (Question("a", request_id="late", timeout_seconds=0.05), "failed"),
        (Question("a", request_id="late-answer", timeout_seconds=0.3), "failed"),
    ],
)
def test_the_status_of_a_request_does_not_depend_on_any_message(
    triton: Triton, question: Question, status: str
) -> None:
    with pytest.raises(AskError) as caught:
        client.ask(question, triton)
    row = row_of(question.request_id)
    assert (caught.value.status, row["status"]) == (status, status)


def test_a_stream_ends_with_the_same_status(triton: Triton) -> None:
    with pytest.raises(AskError) as caught:
        list(client.stream(Question("word " * 59, request_id="long-stream"), triton))
    assert caught.value.status == row_of("long-stream")["status"] == "rejected"
    assert PLACEHOLDER in str(caught.value)


def test_a_cancelled_request_is_logged_as_cancelled(triton: Triton) -> None:
    parts = client.stream(Question("Who are you?", request_id="cancelled"), triton)
    next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert row_of("cancelled")["status"] == "cancelled"


def test_a_storm_of_errors_and_cancellations_leaves_the_server_alive(triton: Triton) -> None:
    def reject(number: int) -> None:
        with pytest.raises(AskError):
            list(client.stream(Question("word " * 59, request_id=f"reject-{number}"), triton))

    def cancel(number: int) -> None:
        parts = client.stream(Question("Who?", request_id=f"cancel-{number}"), triton)
        next(parts)
        parts.close()  # type: ignore[attr-defined]

    processes = triton.processes()
    with ThreadPoolExecutor(12) as pool:
        rejections = list(pool.map(reject, range(60)))
        cancellations = list(pool.map(cancel, range(60)))
    assert len(rejections) + len(cancellations) == 120
    assert row_of("cancel-59")["status"] == "cancelled"
    assert triton.processes() == processes


def test_an_index_that_is_gone_is_a_failure(triton: Triton) -> None:
    remove_alias(live_server.alias("r-one"))
    with pytest.raises(AskError) as caught:
        client.ask(Question("What is a release?", request_id="no-index"), triton)
    assert caught.value.status == row_of("no-index")["status"] == "failed"
