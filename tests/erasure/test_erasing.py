"""A document, a person and a tenant are planted everywhere, erased, and looked for otherwise."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Table, func, select, update

from pipelines import __main__, files
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.contracts.window import WINDOW
from pipelines.decision import erasures, release_files
from pipelines.decision.erasures import RECORD
from pipelines.erasure import erasing
from pipelines.erasure.finding import Finding
from pipelines.erasure.subject import Subject
from pipelines.errors import UserError
from pipelines.gateway import database
from pipelines.gateway.database import ACCOUNTS, BATCHES, FILE_PARTS, KEYS, REQUESTS, TOKEN_OWNERS
from pipelines.monitoring import cycle, decisions
from pipelines.monitoring.window import WINDOWS
from pipelines.questions import reading_set, reviews
from pipelines.system import cache, hash_chain
from pipelines.vectorstore import (
    alias_state,
    build_index,
    hold_server,
    index_problem,
    open_client,
    open_index,
    point_alias,
    stored_collections,
)
from tests.erasure import planting
from tests.erasure.planting import DOCUMENT, OTHER, PERSON, SENTENCE, TENANT, mentions
from tests.monitoring.traffic_rows import request, write_requests
from tests.vectorstore.test_aliases import CHUNK, FACTS

RAW = f"data/raw/{DOCUMENT}"
CHECKOUT = {
    f".state/runs/r1/data/raw/{DOCUMENT}",
    ".state/runs/r1/data/raw/fetched/site.parquet",
}
WHO = ("--who", "dpo", "--why", "request 17")


@pytest.fixture
def planted(clone: Path) -> Iterator[Path]:
    """A clone in which they are everywhere, with its Weaviate."""
    planting.make_clone(clone)
    planting.plant_documents()
    planting.plant_questions()
    planting.plant_traffic()
    planting.plant_gateway()
    with hold_server():
        yield clone


def build(folder: Path, name: str, texts: dict[str, str]) -> str:
    """A collection with a passage for each uri; its name."""
    chunks = folder / f"{name}-chunks.parquet"
    vectors = folder / f"{name}-vectors.parquet"
    rows = []
    for number, (uri, text) in enumerate(texts.items()):
        place = {"chunk_id": f"c-{number}", "uri": uri, "text": text, "digest": f"{name}{number}"}
        rows.append({**CHUNK, **place})
    files.write(chunks, CHUNKS, rows)
    schema = schema_of(2).with_metadata(FACTS)
    units = [{"chunk_id": row["chunk_id"], "vector": [0.0, 1.0]} for row in rows]
    files.write(vectors, schema, units)
    receipt = build_index(chunks, vectors, keep=3, sample=1, hybrid_alpha=0.7)
    files.write_json(folder / f"{name}.json", receipt)
    return receipt.collection


def texts_in(collection: str) -> list[str]:
    with open_client() as client:
        objects = client.collections.use(collection).iterator()
        return sorted(str(item.properties["text"]) for item in objects)


def all_texts() -> list[str]:
    """Every passage of every collection on the server."""
    with open_client() as client:
        names = list(client.collections.list_all())
    return sorted(text for name in names for text in texts_in(name))


def count(table: Table) -> int:
    engine = database.connect()
    with database.reading(engine) as connection:
        number = connection.scalar(select(func.count()).select_from(table))
    engine.dispose()
    return int(number or 0)


def erase(subject: Subject) -> None:
    erasing.erase(subject, "dpo", "request 17", lambda findings: None)


def call(*words: str) -> int:
    return __main__.execute(["forget", *words, *WHO])


def test_a_person_is_gone_from_everything_but_the_documents_that_people_wrote(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = build(tmp_path, "live", {DOCUMENT: SENTENCE, OTHER: "The gate decides."})
    build(tmp_path, "idle", {DOCUMENT: f"{PERSON} again", OTHER: "The gate is open."})
    point_alias("Live", live)
    before = mentions("Quartermain")
    assert len(before) > 20

    assert call("--person", PERSON) == 0
    assert "nothing was removed" in capsys.readouterr().out
    journal = "data/traffic/requests/.b.jsonl"  # of a killed server, now in a file of the log
    before[before.index(journal)] = "data/traffic/requests/b.parquet"
    assert sorted(mentions("Quartermain")) == sorted(before)

    assert call("--person", PERSON, "--yes") == 1, "people have to edit what they wrote"
    left = {RAW, "data/faq/people.yaml", "data/raw/fetched/site.parquet", *CHECKOUT}
    assert set(mentions("Quartermain") + mentions("quartermain")) == left
    output = capsys.readouterr().out
    for path in (*left, f"data/raw/{planting.SCAN}"):
        assert f"LEFT for you: {path}: 1 " in output
    assert "`git log` finds it in 1 commits" in output

    assert texts_in("Live") == texts_in(live) == ["The gate decides."]
    assert all_texts() == ["The gate decides.", "The gate is open."]
    assert [row.request_id for row in reviews.read()] == ["q0003"]
    for folder in ("data/drafts", "data/aside/old/data/drafts"):
        assert len(hash_chain.read(Path(folder) / "decisions.jsonl")) == 1
    assert count(TOKEN_OWNERS) == 0
    assert count(REQUESTS) == 4, "what was spent still counts"
    assert count(BATCHES) == 1
    assert count(FILE_PARTS) == 1
    assert Path("data/reports/metrics.json").exists()
    check_window([3])


def check_window(numbers: list[int]) -> None:
    """The window holds these requests; its verdict, decision and pages quote nobody else."""
    path = WINDOWS / f"{planting.WINDOW_NAME}.parquet"
    ids = [row["request_id"] for row in files.read(path, WINDOW)]
    assert ids == [f"q{number:04}" for number in numbers]
    first, second = decisions.read().decisions
    assert first.reason == "Drift. E.g. “(erased)”; “What decides?”. Not started."
    assert second.window == "w-0"
    assert "What decides?" in path.with_suffix(".html").read_text()
    assert planting.WINDOW_NAME in cycle.TREND_PAGE.read_text()


def test_a_document_is_gone_and_the_file_itself_is_named(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = build(tmp_path, "live", {DOCUMENT: SENTENCE, OTHER: "The gate decides."})
    point_alias("Live", live)
    Path("data/documents.parquet").unlink()
    planting.write_table(Path("data/documents.parquet"), [{"uri": f"old/{DOCUMENT}", "text": "x"}])

    assert call("--document", DOCUMENT, "--yes") == 1
    left = {"data/faq/people.yaml", *CHECKOUT} - {f".state/runs/r1/data/raw/{DOCUMENT}"}
    assert set(mentions(DOCUMENT)) - left == {"data/documents.parquet"}, "old/… is another one"
    output = capsys.readouterr().out
    assert f"LEFT for you: {RAW}: 1 files; edit or remove the document" in output
    assert texts_in("Live") == ["The gate decides."]
    fetched = pq.read_table("data/raw/fetched/site.parquet")
    assert fetched.column("uri").to_pylist() == [OTHER]

    assert "LEFT for you: source site: 1 documents; the next fetch brings it back" in output
    for path in (RAW, "data/faq/people.yaml", *CHECKOUT):
        Path(path).unlink()
    assert call("--document", DOCUMENT, "--yes") == 0
    check_window([3])


def test_a_tenant_is_gone_with_requests_keys_and_accounts_and_others_stay(
    planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--tenant", TENANT, "--yes") == 0
    assert mentions(f'"{TENANT}"') == []
    assert count(REQUESTS) == count(BATCHES) == count(FILE_PARTS) == count(ACCOUNTS) == 1
    assert count(KEYS) == 2
    check_window([3])
    rows = pq.read_table("data/traffic/requests/a.parquet").to_pylist()
    assert [row["tenant"] for row in rows] == ["default"]
    assert not Path("data/traffic/requests/b.parquet").exists(), "all of its rows were the tenant's"
    assert Path("data/documents.parquet").exists(), "a tenant's name is never looked for in texts"
    assert [row.request_id for row in reviews.read()] == ["q0003"], "by its requests"
    assert not Path(".state/serving/shadow.jsonl").exists()


def test_the_record_says_who_and_how_much_and_not_whom(planted: Path) -> None:
    call("--person", PERSON, "--yes")
    begun, ended = hash_chain.read(RECORD)
    assert (begun["kind"], begun["who"], begun["why"]) == ("person", "dpo", "request 17")
    assert ended["removed"]["traffic log, requests"] == 3
    assert ended["num_left"] == 6
    assert begun["contents"] == [], "there was no index"
    text = json.dumps([begun, ended], ensure_ascii=False).casefold()
    assert "quartermain" not in text
    assert DOCUMENT not in text


@pytest.mark.parametrize(("kind", "name"), [("person", PERSON), ("tenant", TENANT)])
def test_a_reason_that_names_it_is_refused(clone: Path, kind: str, name: str) -> None:
    words = [f"--{kind}", name, "--yes", "--who", "dpo", "--why", f"{name} asked for it"]
    with pytest.raises(UserError, match="must not name"):
        __main__.execute(["forget", *words])


def test_a_batch_under_way_is_named_and_nothing_is_removed(planted: Path) -> None:
    engine = database.connect()
    with engine.begin() as connection:
        connection.execute(update(BATCHES).values(status="in_progress"))
    engine.dispose()
    Path("data/traffic/requests/.b.jsonl").unlink()  # looking brings it to another file
    before = mentions("Quartermain")
    with pytest.raises(UserError, match="batch b-acme is under way"):
        erase(Subject.of("tenant", TENANT))
    assert mentions("Quartermain") == before


def test_a_damaged_file_of_the_log_is_no_clean_log(planted: Path) -> None:
    Path("data/traffic/requests/c.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(UserError, match=r"c\.parquet: cannot be read as Parquet"):
        erasing.find(Subject.of("person", PERSON))


def test_a_kill_between_two_removals_leaves_what_the_same_command_finds(planted: Path) -> None:
    """The tenant's rows in a window are known by the log alone, so that one goes last."""
    subject = Subject.of("tenant", TENANT)
    for finding in erasing.find(subject)[:4]:
        assert finding.remove is not None
        finding.remove()
    erase(subject)
    check_window([3])
    assert count(REQUESTS) == 1


def test_what_comes_back_meanwhile_is_said(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = erasing.find
    names = iter(["first", "second"])

    def find_after_a_request(subject: Subject) -> list[Finding]:
        write_requests(Path("data/traffic"), [request(9, question=SENTENCE)], name=next(names))
        return find(subject)

    monkeypatch.setattr(erasing, "find", find_after_a_request)
    with pytest.raises(UserError, match=r"traffic log, requests: 1 rows came back"):
        erase(Subject.of("person", PERSON))
    assert [entry["step"] for entry in hash_chain.read(RECORD)] == ["begun"]


def test_what_was_erased_stays_out_of_the_index_whoever_opens_it(
    planted: Path, tmp_path: Path
) -> None:
    """A release's collection is opened again by a rollback, a revived server and a container."""
    name = build(tmp_path, "first", {OTHER: "The gate decides.", DOCUMENT: SENTENCE})
    point_alias("Live", name)
    point_alias("Live", build(tmp_path, "second", {OTHER: "Nothing is closed."}))
    receipt = files.read_json(tmp_path / "first.json", Receipt)
    files.write_json(release_files.RECEIPT, receipt)
    planting.git("add", "--all")
    planting.git("commit", "--quiet", "--message", "release")
    planting.git("tag", "release/r-1")
    erase(Subject.of("person", PERSON))

    previous = alias_state("Live").previous
    assert previous is not None
    assert texts_in(previous) == texts_in(name) == ["The gate decides."]
    assert index_problem(receipt) is None
    assert release_files.ensure_collection("r-1") == receipt
    chunks, vectors = tmp_path / "first-chunks.parquet", tmp_path / "first-vectors.parquet"
    with open_index(receipt, chunks, vectors):
        assert texts_in(name) == ["The gate decides."]
    build(tmp_path, "first", {OTHER: "The gate decides.", DOCUMENT: SENTENCE})
    assert texts_in(name) == ["The gate decides."]

    with open_client() as client:  # as if its disk were lost
        client.collections.delete(client.alias.get(alias_name=name).collection)
    with pytest.raises(UserError, match="would bring them back"):
        release_files.ensure_collection("r-1")


def test_the_reading_set_stays_whole_without_a_document(planted: Path) -> None:
    shutil.copytree(planting.ROOT / reading_set.FOLDER, reading_set.FOLDER)
    before = reading_set.load()
    assert any(OTHER in text for text in (reading_set.FOLDER / "passages.jsonl").open())
    erase(Subject.of("document", OTHER))
    after = reading_set.load()
    assert 0 < len(after.training) < len(before.training)
    assert mentions(OTHER, Path(reading_set.FOLDER)) == []


def test_a_cache_in_use_is_named_and_kept(planted: Path, tmp_path: Path) -> None:
    path = Path(".state/work.sqlite")
    build(tmp_path, "live", {DOCUMENT: SENTENCE})
    with cache.open_cache(path, "convert/1") as work:
        with pytest.raises(UserError, match=r"work\.sqlite is in use"):
            cache.clear(path)
        with pytest.raises(UserError, match=r"work\.sqlite is in use"):
            erase(Subject.of("person", PERSON))
        assert all_texts() == [SENTENCE], "nothing was removed"
        assert work.get("key") is not None
    cache.clear(path)
    assert cache.count(path) == 0


def test_a_document_that_nobody_has_read_is_no_clean_document(
    planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data/converted.parquet").unlink()
    assert call("--person", "Somebody Else", "--yes") == 1
    assert "LEFT for you: data/raw: 1 documents nobody looked at" in capsys.readouterr().out


def test_a_document_that_was_rejected_is_no_clean_document(planted: Path) -> None:
    """It is older than what `ingest` wrote, and in no row of it."""
    path = Path("data/raw/team/list.docx")
    path.write_bytes(b"PK\0\0")
    os.utime(path, (1.0, 1.0))
    latin = Path("data/raw/team/latin.txt")
    latin.write_bytes("Zoë Quartermain".encode("latin-1"))
    os.utime(latin, (1.0, 1.0))
    Path("data/raw/team/plan.png").write_bytes(b"\x89PNG\0")
    findings = {item.location: item for item in erasing.find(Subject.of("person", PERSON))}
    assert findings["data/raw"].count == 2


def test_a_document_that_is_a_log_stays_whole(planted: Path) -> None:
    path = Path("data/raw/team/incident.log")
    path.write_text(f"one\n{SENTENCE}\n")
    findings = {item.location: item for item in erasing.find(Subject.of("person", PERSON))}
    assert findings[path.as_posix()].remove is None
    erase(Subject.of("person", PERSON))
    assert path.read_text() == f"one\n{SENTENCE}\n"


def test_folders_behind_links_are_looked_at_once(planted: Path, tmp_path: Path) -> None:
    for name in (".state", "data/raw"):
        shutil.move(name, tmp_path / Path(name).name)
        Path(name).symlink_to(tmp_path / Path(name).name)
    Path(".state/loop").symlink_to(tmp_path / ".state")
    erase(Subject.of("person", PERSON))
    assert "Quartermain" not in Path(".state/serving/server.log").read_text()
    assert not Path(".state/serving/shadow.jsonl").exists()


def test_a_kill_while_a_collection_is_replaced_is_made_good_by_the_same_command(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = build(tmp_path, "live", {DOCUMENT: SENTENCE, OTHER: "The gate decides."})
    point_alias("Live", name)
    set_alias = stored_collections.set_alias
    num_calls = 0

    def set_one_alias(client: Any, alias: str, collection: str) -> None:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 2:
            raise KeyboardInterrupt
        set_alias(client, alias, collection)

    monkeypatch.setattr(stored_collections, "set_alias", set_one_alias)
    with pytest.raises(KeyboardInterrupt):
        erase(Subject.of("person", PERSON))
    monkeypatch.setattr(stored_collections, "set_alias", set_alias)
    erase(Subject.of("person", PERSON))
    assert texts_in("Live") == texts_in(name) == all_texts() == ["The gate decides."]
    receipt = files.read_json(tmp_path / "live.json", Receipt)
    assert index_problem(receipt) is None
    assert receipt.digest in erasures.partial_contents()


def test_objects_that_a_release_or_a_document_needs_are_named_and_kept(planted: Path) -> None:
    Path("data/raw/big.txt").write_text(SENTENCE)
    planting.run_dvc("add", "--quiet", "data/raw/big.txt")
    planting.git("switch", "--quiet", "--create", "other")
    Path("broken.dvc").write_text("outs: [")
    Path("text.dvc").write_text("only words")
    planting.git("add", "--all")
    planting.git("commit", "--quiet", "--message", "big")
    planting.git("switch", "--quiet", "-")
    (path,) = [path for path in mentions(SENTENCE, Path(".dvc/cache")) if "aa/bb" not in path]
    findings = erasing.find(Subject.of("person", PERSON))
    assert [item.location for item in findings if item.location == path and not item.remove]


def test_a_folder_that_may_not_be_entered_is_no_empty_folder() -> None:
    if os.geteuid():
        pytest.skip("another user's folder can only be tried by root")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o700)
        environment = {"PYTHONPATH": str(planting.ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        code = (
            "import os, sys; import pipelines.erasure.layout as layout; from pathlib import Path; "
            f"os.setuid(65534); layout.list_files(Path({folder!r}), '*')"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
    assert f"{folder} cannot be looked into (Permission denied)" in answer.stderr
