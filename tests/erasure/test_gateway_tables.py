"""The gateway's rows of a person and of a tenant, on SQLite and on PostgreSQL."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from pipelines.erasure import gateway_tables
from pipelines.erasure.subject import Subject
from pipelines.gateway import database
from pipelines.gateway.database import METADATA
from tests.erasure import planting
from tests.gateway.test_accounts import (
    engine,  # noqa: F401 (a fixture)
    postgres,  # noqa: F401 (a fixture)
)


@pytest.fixture
def planted(
    engine: Engine,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Engine:
    monkeypatch.setenv(database.VARIABLE, engine.url.render_as_string(hide_password=False))
    monkeypatch.chdir(tmp_path)
    planting.plant_gateway()
    return engine


def sizes(engine: Engine) -> dict[str, int]:  # noqa: F811
    """How many rows each table has, if any."""
    with database.reading(engine) as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in METADATA.sorted_tables
        }
    return {name.removeprefix("gateway_"): count for name, count in counts.items() if count}


def erase(subject: Subject) -> None:
    for finding in gateway_tables.find(subject):
        assert finding.remove is not None
        finding.remove()
    assert list(gateway_tables.find(subject)) == []


def test_a_persons_texts_and_sign_ins_go_and_amounts_stay(planted: Engine) -> None:
    before = sizes(planted)
    erase(Subject.of("person", planting.PERSON))
    after = {**before, "files": 2, "file_parts": 1, "batches": 1, "batch_lines": 1}
    after["keys"] -= 1
    del after["token_owners"]
    assert sizes(planted) == after


def test_a_tenants_rows_go_from_every_table_and_others_stay(planted: Engine) -> None:
    erase(Subject.of("tenant", planting.TENANT))
    assert sizes(planted) == {
        "requests": 1,
        "feedback": 1,
        "files": 2,
        "file_parts": 1,
        "batches": 1,
        "batch_lines": 1,
        "keys": 2,
        "token_owners": 1,
        "accounts": 1,
    }
