"""Plants a person, a document and a tenant in every place where a clone may keep them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import insert

from pipelines import files
from pipelines.contracts.fetched import FETCHED
from pipelines.contracts.window import WINDOW
from pipelines.gateway import database
from pipelines.gateway.database import (
    ACCOUNTS,
    BATCH_LINES,
    BATCHES,
    FEEDBACK,
    FILE_PARTS,
    FILES,
    KEYS,
    REQUESTS,
    TOKEN_OWNERS,
)
from pipelines.monitoring import decisions, judging
from pipelines.questions import reviews
from pipelines.questions.reviews import Review
from pipelines.runtime.traffic_schema import REQUESTS as REQUEST_ROWS
from pipelines.system import cache, hash_chain
from tests.monitoring.test_decisions import decision
from tests.monitoring.test_window_page import verdict
from tests.monitoring.traffic_rows import feedback, request, write_feedback, write_requests

ROOT = Path(__file__).parents[2]
PERSON = "Zoë Quartermain"
WRITTEN = "ZOË\u00a0 quartermain"  # otherwise spaced and cased, and as two code points
DOCUMENT = "team/people.md"
TENANT = "acme"
SCAN = "team/scan.pdf"  # whose text only its reader sees
OTHER = "handbook/gate.md"
SENTENCE = f"Ask {PERSON} about leave."
KEY = "k-acme"
WINDOW_NAME = "w-1"


def make_clone(folder: Path) -> None:
    """A Git and DVC repository with this one's stages and parameters, in the current folder."""
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    run_dvc("init", "--quiet")


def run_dvc(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *words], check=True)


def git(*words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *identity, *words], check=True)


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


def write(path: str, text: str) -> None:
    files.write_text(Path(path), text)


def plant_documents() -> None:
    """The document, what stages made of it, and DVC's cache of that."""
    write(f"data/raw/{DOCUMENT}", f"# People\n\n{SENTENCE}\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "documents")
    row = dict.fromkeys(FETCHED.names)
    rows = [
        {**row, "uri": uri, "content": text.encode()}
        for uri, text in ((DOCUMENT, SENTENCE), (OTHER, "The gate decides."))
    ]
    files.write(Path("data/raw/fetched/site.parquet"), FETCHED, rows)
    passages = [
        {"uri": DOCUMENT, "text": SENTENCE, "headings": ["People"]},
        {"uri": OTHER, "text": "The gate decides.", "headings": []},
    ]
    for path in (
        "data/documents.parquet",
        "data/chunks.parquet",
        ".state/runs/r1/data/chunks.parquet",
        ".state/runs/r1/data/raw/fetched/site.parquet",
        ".dvc/cache/files/md5/aa/bb",
    ):
        write_table(Path(path), passages)
    write("data/examples/train.jsonl", json.dumps({"prompt": SENTENCE, "page": DOCUMENT}) + "\n")
    write("data/reports/corpus.html", f"<p>{DOCUMENT}: Zoë <b>Quartermain</b></p>")
    write("data/reports/validation.json", json.dumps({"examples": [SENTENCE, DOCUMENT]}))
    write(".state/run_reports/r1/data/reports/a.json", json.dumps([SENTENCE, DOCUMENT]))
    write(f".state/runs/r1/data/raw/{DOCUMENT}", SENTENCE)
    write(".state/git/mirror/packed", SENTENCE)
    pair = {"tenant": TENANT, "answer": SENTENCE, "uri": DOCUMENT}
    write(".state/serving/shadow.jsonl", json.dumps(pair) + "\n")
    write(".state/read.html", f"<h1>{DOCUMENT}</h1>{SENTENCE}")
    Path(f"data/raw/{SCAN}").write_bytes(b"%PDF-1.7\0\0")
    write_table(Path("data/converted.parquet"), [{"uri": SCAN, "text": SENTENCE}])
    write(".state/serving/server.log", f"start\n{SENTENCE}\nZoë\nQuartermain\nend\n")
    write("data/reports/metrics.json", '{"f1": 0.5}')
    with cache.open_cache(Path(".state/work.sqlite"), "convert/1") as work:
        work.put({"key": {"text": SENTENCE, "uri": DOCUMENT}})


def plant_questions() -> None:
    """Questions, drafts and reviews that people wrote or decided on."""
    line = {"id": "a-1", "question": SENTENCE, "answers": ["x"], "page": DOCUMENT}
    other = {"id": "a-2", "question": "What decides?", "answers": ["the gate"], "page": OTHER}
    lines = "".join(json.dumps(value) + "\n" for value in (line, other))
    write("data/qa/training/own.jsonl", lines)
    write("data/drafts/drafts.jsonl", lines)
    topic = f"- topic: people.leave\n  page: {DOCUMENT}\n  answer: Ask {PERSON}.\n"
    write("data/faq/people.yaml", topic + "  questions:\n  - Who knows about leave\n")
    lesson = topic.replace("people.leave", "reviewed.1")
    write("data/faq/reviewed.yaml", f"# Made by review\n{lesson}  questions:\n  - {SENTENCE}\n")
    write("data/golden/gate.jsonl", (ROOT / "data/golden/gate.jsonl").read_text())
    for number, question in enumerate((SENTENCE, "What decides?")):
        page = OTHER if number else DOCUMENT
        reviews.append(
            Review(
                request_id="q0002" if number == 0 else "q0003",
                question=question,
                given=None,
                decision="rejected",
                answer=None,
                page=page,
                who="rev",
                why="",
                when="2026-11-21T12:00:00+00:00",
            )
        )
    for folder in ("data/drafts", "data/aside/old/data/drafts"):
        for question in (SENTENCE, "What decides?"):
            page = DOCUMENT if question == SENTENCE else OTHER
            entry = {"question": question, "page": page}
            hash_chain.append(Path(folder) / "decisions.jsonl", entry)


def plant_traffic() -> None:
    """Requests that speak of them, in Parquet and in the journal of a killed server."""
    retrieved = [{"chunk_id": "c-0", "uri": DOCUMENT, "score": 0.5}]
    rows = [
        request(1, question=f"Where is {WRITTEN}?", retrieved=retrieved, tenant=TENANT),
        request(2, answer=SENTENCE, retrieved=retrieved, tenant=TENANT),
        request(3, question="What decides?"),
    ]
    folder = Path("data/traffic")
    write_requests(folder, rows)
    journal = request(4, question=SENTENCE, retrieved=retrieved, tenant=TENANT)
    journal["time"] = journal["time"].timestamp()
    assert set(journal) == set(REQUEST_ROWS.names)
    (folder / "requests/.b.jsonl").write_text(json.dumps(journal) + "\n")
    write_feedback(folder, [feedback(1), feedback(2, comment=SENTENCE), feedback(3)])
    plant_window(rows)


def plant_window(rows: list[dict[str, Any]]) -> None:
    """A window of these requests whose verdict, decision and pages quote a question."""
    folder = Path("data/reports/drift/windows")
    window_rows = []
    for row in rows:
        values = {name: row.get(name) for name in WINDOW.names}
        values["top_page"] = row["retrieved"][0]["uri"] if row["retrieved"] else OTHER
        window_rows.append(values)
    files.write(folder / f"{WINDOW_NAME}.parquet", WINDOW, window_rows)
    quote = judging.printable(rows[0]["question"])
    signal = verdict(1, 2.0).signals[0].model_copy(update={"examples": [quote, "What decides?"]})
    sentence = f"Drift. E.g. “{quote}”; “What decides?”."
    outcome = verdict(1, 2.0).model_copy(update={"signals": [signal], "sentence": sentence})
    files.write_json(folder / f"{WINDOW_NAME}.json", outcome)
    write(f"{folder}/{WINDOW_NAME}.html", f"<p>{quote}</p>")
    write(f"{folder}/{WINDOW_NAME}.evidently.html", f"<p>{quote}</p>")
    record = decision(window=WINDOW_NAME, reason=f"{sentence} Not started.")
    decisions.append(record)
    decisions.append(decision(decision_id="d-2", window="w-0"))
    files.write_json(Path("data/reports/drift/verdict.json"), record)


def plant_gateway() -> None:
    """Rows of two tenants in the gateway's database, and a person who signed in."""
    engine = database.connect()
    with engine.begin() as connection:
        for key_id, tenant in ((KEY, TENANT), ("k-other", "other"), ("o-1", "other")):
            key = {"id": key_id, "digest": "", "tenant": tenant, "role": "asker", "created": 0.0}
            connection.execute(insert(KEYS).values(key))
        for number in (1, 2, 3, 4):
            tenant = "other" if number == 3 else TENANT
            connection.execute(insert(REQUESTS).values(request_values(number, tenant)))
            thumb = {"request_id": f"q{number:04}", "asker": "d", "time": 0.0}
            connection.execute(insert(FEEDBACK).values(thumb))
        for tenant, question in ((TENANT, SENTENCE), ("other", "What decides?")):
            for table, values in batch_rows(tenant, question):
                connection.execute(insert(table).values(values))
        sign_in = {"id": "o-1", "issuer": "https://id", "subject": PERSON}
        connection.execute(insert(TOKEN_OWNERS).values(sign_in))
        for name in (f"tenant {TENANT}", "tenant other", f"key {KEY}"):
            account = {"month": "2026-11", "owner": name, "amount": 5}
            connection.execute(insert(ACCOUNTS).values(account))
    engine.dispose()


def request_values(number: int, tenant: str) -> dict[str, Any]:
    is_named = number == 1
    return {
        "id": f"q{number:04}",
        "key_id": KEY,
        "tenant": tenant,
        "asker": "d",
        "time": 0.0,
        "month": "2026-11",
        "follow_up": "and where?" if is_named else None,
        "standalone": f"Where is {PERSON}?" if is_named else None,
        "status": "ok",
        "num_prompt_tokens": 1,
        "num_new_tokens": 1,
        "reserve": 0,
        "cost": 1,
    }


def batch_rows(tenant: str, question: str) -> list[tuple[Any, dict[str, Any]]]:
    """An ended batch with its files."""
    result = json.dumps({"answer": question, "page": DOCUMENT if tenant == TENANT else OTHER})
    times = {"created": 0.0, "expires": 1e12}
    content = json.dumps({"custom_id": "1", "body": question}).encode()
    return [
        (FILES, {"id": f"in-{tenant}", "tenant": tenant, "name": "in.jsonl", "purpose": "batch",
                 "num_bytes": len(content), **times}),
        (FILE_PARTS, {"file_id": f"in-{tenant}", "number": 0, "content": content}),
        (FILES, {"id": f"out-{tenant}", "tenant": tenant, "name": "o", "purpose": "batch_output",
                 "num_bytes": 1, "batch_id": f"b-{tenant}", "line_status": "completed", **times}),
        (BATCHES, {"id": f"b-{tenant}", "tenant": tenant, "key_id": "k", "endpoint": "/v1",
                   "input_file_id": f"in-{tenant}", "status": "completed", "num_lines": 1,
                   "num_completed": 1, "num_failed": 0, "last_start": 0.0, **times}),
        (BATCH_LINES, {"batch_id": f"b-{tenant}", "number": 0, "request": "", "status": "completed",
                       "not_before": 0.0, "num_tries": 0, "result": result}),
    ]  # fmt: skip


def mentions(needle: str, root: Path = Path()) -> list[str]:
    """Files whose content holds `needle`, read in another way than the product's.

    Parquet by pandas' text of it, caches decompressed, everything else as bytes; Git's own objects
    and servers' programs are left out.
    """
    matching_paths = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if not path.is_file() or parts[0] == ".git" or "bin" in parts:
            continue
        content = path.read_bytes()
        if content.startswith(b"PAR1"):
            content = json.dumps(pq.read_table(path).to_pylist(), default=repr).encode()
            content += repr(pq.read_table(path).to_pylist()).encode()
        if path.name == "work.sqlite":
            with cache.open_cache(path, "convert/1") as work:
                content += json.dumps(work.sample(), ensure_ascii=False).encode()
        escaped = json.dumps(needle)[1:-1].encode()
        if needle.encode() in content or escaped in content:
            matching_paths.append(path.as_posix())
    return matching_paths
