"""Files and batches in the database, on SQLite and on PostgreSQL; no assistant is asked."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from pipelines.gateway import batch_input, batch_results, database, keys
from pipelines.gateway.api_errors import AlreadyThere, InvalidRequest, NotFound, TooLarge, TooMany
from pipelines.gateway.batch_endings import BatchEndings
from pipelines.gateway.batch_input import InvalidInput
from pipelines.gateway.batch_store import LINE_COMPLETED, LINE_FAILED, BatchStore, Claim
from pipelines.gateway.database import BATCH_LINES, BATCHES, FILE_PARTS, FILES
from pipelines.gateway.file_store import PART_BYTES, FileStore
from pipelines.gateway.keys import Key, Role
from pipelines.gateway.pages import Page
from tests.gateway.conftest import gateway_config
from tests.gateway.test_accounts import (
    engine,  # noqa: F401 (a fixture)
    postgres,  # noqa: F401 (a fixture)
)

CHAT = batch_input.CHAT
SETTINGS = {"max_file_bytes": 1_000_000, "max_files": 3, "max_lines": 20, "max_open": 3}
CONFIG = gateway_config().batches.model_copy(update=SETTINGS)


@pytest.fixture
def ada(engine: Engine) -> Key:  # noqa: F811
    key = keys.authenticate(engine, keys.create(engine, "shop", Role.ASKER))
    assert key is not None
    return key


@pytest.fixture
def files(engine: Engine) -> FileStore:  # noqa: F811
    return FileStore(engine, CONFIG)


@pytest.fixture
def store(engine: Engine) -> BatchStore:  # noqa: F811
    return BatchStore(engine, CONFIG)


def line(name: str, **changes: Any) -> str:
    body = {"model": "assistant", "messages": [{"role": "user", "content": name}]}
    values = {"custom_id": name, "method": "POST", "url": CHAT, "body": body}
    return json.dumps({**values, **changes})


def begin(store: BatchStore, key: Key, *names: str) -> str:
    """A batch in progress with a line for each name; its id."""
    batch = store.create(key, {"input_file_id": "file-x", "endpoint": CHAT})
    parts = ["\n".join(map(line, names)).encode()]
    store.start(batch.id, batch_input.read(parts, CHAT, CONFIG, 10_000))
    return str(batch.id)


def end(store: BatchStore, claim: Claim | None, status: str = LINE_COMPLETED) -> str:
    """Store the result of a line; its custom_id."""
    assert claim is not None
    name = batch_results.custom_id(claim.request)
    assert store.finish(claim, status, batch_results.success(name, claim.request_id, {}))
    return name


def look(engine: Engine, store: BatchStore) -> None:  # noqa: F811
    for batch in store.read_open():
        BatchEndings(engine, CONFIG).look(batch)


def ids_in(files: FileStore, tenant: str, file_id: str) -> list[str]:
    """The custom ids of a result, in its order."""
    row = files.find(tenant, file_id)
    content = b"".join(files.read(row))
    assert len(content) == row.num_bytes
    return [json.loads(text)["custom_id"] for text in content.splitlines()]


def lose(engine: Engine) -> None:  # noqa: F811
    """Let all leases end."""
    change = update(BATCH_LINES).values(owned_until=time.time() - 1)
    with engine.begin() as connection:
        connection.execute(change)


def test_each_line_is_given_to_one_gateway_however_many_ask(
    engine: Engine,  # noqa: F811
    store: BatchStore,
    ada: Key,
) -> None:
    begin(store, ada, *[f"line {number}" for number in range(20)])
    stores = [BatchStore(engine, CONFIG) for _ in range(4)]

    def claim_all(gateway: BatchStore) -> list[str]:
        names: list[str] = []
        while gateway.has_lines():
            claim = gateway.claim()
            if claim is not None:
                names.append(end(gateway, claim))
        return names

    with ThreadPoolExecutor(4) as pool:
        lists = list(pool.map(claim_all, stores))
    names = [name for names in lists for name in names]
    assert len(names) == len(set(names)) == 20
    assert store.read_open()[0].num_completed == 20


def test_a_line_whose_gateway_is_gone_is_asked_again_and_stored_once(
    engine: Engine,  # noqa: F811
    store: BatchStore,
    files: FileStore,
    ada: Key,
) -> None:
    batch_id = begin(store, ada, "a")
    lost = store.claim()
    assert lost is not None
    successor = BatchStore(engine, CONFIG)
    assert successor.claim() is None
    store.renew([lost.request_id])
    lose(engine)
    claim = successor.claim()
    assert claim is not None
    assert claim.request_id != lost.request_id
    assert not store.finish(lost, LINE_COMPLETED, "too late")
    store.put_back(lost, 0.0, has_failed=True)
    assert store.claim() is None
    end(successor, claim)
    assert not successor.finish(claim, LINE_COMPLETED, "twice")
    look(engine, store)
    batch = store.find("shop", batch_id)
    assert (batch.status, batch.num_completed, batch.num_failed) == ("completed", 1, 0)
    assert ids_in(files, "shop", batch.output_file_id) == ["a"]
    with database.reading(engine) as connection:
        assert connection.scalar(select(BATCH_LINES.c.request)) == "", "the question is not kept"


def test_batches_take_turns_and_a_line_put_back_waits(store: BatchStore, ada: Key) -> None:
    begin(store, ada, "a1", "a2", "a3")
    begin(store, ada, "b1", "b2")
    claims = [store.claim() for _ in range(4)]
    names = [batch_results.custom_id(claim.request) for claim in claims if claim]
    assert names == ["a1", "b1", "a2", "b2"]
    assert claims[0] is not None
    store.put_back(claims[0], 0.3, has_failed=True)
    end(store, store.claim())
    assert store.claim() is None
    time.sleep(0.4)
    again = store.claim()
    assert again is not None
    assert (batch_results.custom_id(again.request), again.num_tries) == ("a1", 1)


def test_a_batch_ends_with_its_answers_and_its_errors_in_the_order_of_the_input(
    engine: Engine,  # noqa: F811
    store: BatchStore,
    files: FileStore,
    ada: Key,
) -> None:
    names = [f"line {number}" for number in range(6)]
    batch_id = begin(store, ada, *names)
    claims = [store.claim() for _ in names]
    for claim in reversed(claims):
        look(engine, store)
        assert store.find("shop", batch_id).status == "in_progress"
        assert claim is not None
        end(store, claim, LINE_FAILED if claim.number % 3 == 0 else LINE_COMPLETED)
    look(engine, store)
    look(engine, store)
    batch = store.find("shop", batch_id)
    assert (batch.status, batch.num_completed, batch.num_failed) == ("completed", 4, 2)
    assert ids_in(files, "shop", batch.output_file_id) == [names[n] for n in (1, 2, 4, 5)]
    assert ids_in(files, "shop", batch.error_file_id) == [names[0], names[3]]
    files.delete("shop", batch.output_file_id)
    with pytest.raises(NotFound):
        files.find("shop", batch.output_file_id)
    assert ids_in(files, "shop", batch.error_file_id) == [names[0], names[3]]
    with pytest.raises(AlreadyThere):
        store.cancel("shop", batch_id)


def test_of_a_cancelled_batch_the_answers_so_far_stay(
    engine: Engine,  # noqa: F811
    store: BatchStore,
    files: FileStore,
    ada: Key,
) -> None:
    batch_id = begin(store, ada, "a", "b", "c")
    end(store, store.claim())
    under_way = store.claim()
    assert store.cancel("shop", batch_id).status == "cancelling"
    assert store.claim() is None
    look(engine, store)
    assert store.find("shop", batch_id).status == "cancelling"
    end(store, under_way)
    look(engine, store)
    batch = store.cancel("shop", batch_id)
    assert (batch.status, batch.num_lines, batch.num_completed) == ("cancelled", 3, 2)
    assert ids_in(files, "shop", batch.output_file_id) == ["a", "b"]
    assert batch.error_file_id is None


def test_what_a_batch_has_not_asked_in_time_is_in_its_errors(
    engine: Engine,  # noqa: F811
    store: BatchStore,
    files: FileStore,
    ada: Key,
) -> None:
    batch_id = begin(store, ada, "a", "b", "c")
    end(store, store.claim())
    with engine.begin() as connection:
        connection.execute(update(BATCHES).values(expires=time.time() - 1))
    assert store.claim() is None
    look(engine, store)
    assert store.find("shop", batch_id).status == "finalizing"
    look(engine, store)
    batch = store.find("shop", batch_id)
    assert (batch.status, batch.num_completed, batch.num_failed) == ("expired", 1, 2)
    errors = b"".join(files.read(files.find("shop", batch.error_file_id))).splitlines()
    assert [json.loads(text)["error"]["code"] for text in errors] == ["batch_expired"] * 2
    assert ids_in(files, "shop", batch.output_file_id) == ["a"]


def test_no_tenant_sees_what_is_another_ones(store: BatchStore, files: FileStore, ada: Key) -> None:
    batch_id = begin(store, ada, "a")
    file_id = files.create(ada, "in.jsonl", io.BytesIO(b"x")).id
    for call in (
        lambda: store.find("bank", batch_id),
        lambda: store.cancel("bank", batch_id),
        lambda: files.find("bank", file_id),
        lambda: files.delete("bank", file_id),
        lambda: store.read_page("bank", Page(10, batch_id)),
        lambda: files.read_page("bank", None, Page(10, file_id)),
        lambda: files.find("shop", "file-\0"),
        lambda: store.find("shop", "\0"),
    ):
        with pytest.raises(NotFound):
            call()
    assert store.read_page("bank", Page(10)) == files.read_page("bank", None, Page(10)) == []


def test_a_tenant_has_no_more_open_batches_and_files_than_allowed(
    store: BatchStore, files: FileStore, ada: Key
) -> None:
    def is_accepted(number: int) -> bool:
        try:
            if number % 2:
                store.create(ada, {"input_file_id": "file-x", "endpoint": CHAT})
            else:
                files.create(ada, "in.jsonl", io.BytesIO(b"x"))
        except TooMany:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(is_accepted, range(24)))
    assert outcomes[::2].count(True) == outcomes[1::2].count(True) == 3


def test_a_long_file_is_stored_in_parts_and_read_back(
    engine: Engine,  # noqa: F811
    files: FileStore,
    ada: Key,
) -> None:
    content = bytes(range(256)) * (2 * PART_BYTES // 256) + b"rest"
    row = files.create(ada, "a\x00b\n" + "x" * 300, io.BytesIO(content))
    assert (row.num_bytes, row.name) == (len(content), "ab" + "x" * 253)
    parts = list(files.read(row))
    assert len(parts) == 3
    assert b"".join(parts) == content
    with pytest.raises(TooLarge):
        files.create(ada, "in.jsonl", io.BytesIO(b"x" * 1_000_001))
    with pytest.raises(InvalidRequest):
        files.create(ada, "in.jsonl", io.BytesIO(b""))
    files.delete("shop", row.id)
    with database.reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(FILE_PARTS)) == 0


def test_files_and_batches_are_removed_after_their_time(
    engine: Engine,  # noqa: F811
    store: BatchStore,
    files: FileStore,
    ada: Key,
) -> None:
    row = files.create(ada, "in.jsonl", io.BytesIO(b"x"))
    batch_id = begin(store, ada, "a")
    end(store, store.claim())
    look(engine, store)
    open_id = begin(store, ada, "b")
    files.remove_expired()
    BatchEndings(engine, CONFIG).remove_old()
    assert ids_in(files, "shop", store.find("shop", batch_id).output_file_id) == ["a"]
    seconds = CONFIG.keep_days * 86_400 + 1
    with engine.begin() as connection:
        connection.execute(update(FILES).values(expires=FILES.c.expires - seconds))
        connection.execute(update(BATCHES).values(ended=BATCHES.c.ended - seconds))
    with pytest.raises(NotFound):
        files.find("shop", row.id)
    files.remove_expired()
    BatchEndings(engine, CONFIG).remove_old()
    with database.reading(engine) as connection:
        for table in (FILES, FILE_PARTS):
            assert connection.execute(select(table)).all() == []
        lines = connection.execute(select(BATCH_LINES)).all()
    assert [row.batch_id for row in lines] == [open_id]
    assert [batch.id for batch in store.read_page("shop", Page(10))] == [open_id]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_list_is_read_page_by_page(files: FileStore, ada: Key, order: Any) -> None:
    ids = [files.create(ada, "in.jsonl", io.BytesIO(b"x")).id for _ in range(3)]
    expected = ids if order == "asc" else ids[::-1]
    page = Page(2, order=order)
    rows = files.read_page("shop", "batch", page)
    body = page.body([{"id": row.id} for row in rows])
    assert [item["id"] for item in body["data"]] == expected[:2]
    assert (body["has_more"], body["last_id"]) == (True, expected[1])
    page = Page(2, expected[1], order)
    body = page.body([{"id": row.id} for row in files.read_page("shop", "batch", page)])
    assert ([item["id"] for item in body["data"]], body["has_more"]) == (expected[2:], False)
    assert files.read_page("shop", "batch_output", Page(2)) == []


def test_lines_are_read_across_the_parts_of_a_file() -> None:
    content = f"{line('a')}\r\n\n{line('b')}\n{line('é')}".encode()
    for size in (1, 7, len(content)):
        parts = [content[start : start + size] for start in range(0, len(content), size)]
        requests = batch_input.read(parts, CHAT, CONFIG, 10_000)
        assert [batch_results.custom_id(request) for request in requests] == ["a", "b", "é"]


@pytest.mark.parametrize(
    ("text", "message", "number"),
    [
        ("nonsense", "Invalid JSON", 2),
        ("[]", "the line: Input should be an object", 2),
        (line("b", method="GET"), "method: Input should be 'POST'", 2),
        (line("b", url="/v1/embeddings"), "url is /v1/embeddings, and the batch is for", 2),
        (line("b", url="/v1/feedback"), "url: Input should be", 2),
        (line("b", body="hello"), "body: Input should be an object", 2),
        (line("b", more=1), "more: Extra inputs are not permitted", 2),
        (line(""), "custom_id: String should have at least 1 character", 2),
        (line("a"), "custom_id 'a' is that of an earlier line", 2),
        (line("x" * 600), "custom_id: String should have at most", 2),
        (f'{{"custom_id": "{"x" * 20_000}"}}', "the line is longer than 10000 bytes", 2),
        ("\n".join(line(f"l{number}") for number in range(21)), "more than 20 lines", None),
    ],
)
def test_an_input_that_cannot_be_worked_on_is_refused_with_the_line(
    text: str, message: str, number: int | None
) -> None:
    with pytest.raises(InvalidInput) as caught:
        batch_input.read([f"{line('a')}\n{text}".encode()], CHAT, CONFIG, 10_000)
    problem = caught.value.problems[0]
    assert message in problem.message
    assert problem.line == number


def test_an_input_without_lines_is_refused() -> None:
    with pytest.raises(InvalidInput, match="the file has no lines"):
        batch_input.read([b"\n \n"], CHAT, CONFIG, 10_000)
