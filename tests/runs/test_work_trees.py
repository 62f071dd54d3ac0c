"""A run whose tasks are done by two machines.

They are two clones with caches of their own; a bare Git repository and a folder as DVC remote are
between them.
"""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from pipelines import files
from pipelines.contracts.documents import DOCUMENTS
from tests.conftest import end_processes_below
from tests.end_to_end.test_pipeline import change, environment, make_workspace

# By somebody who may let it fetch from a private host, as that branch does.
START_MAIN_LINE = ("start", "--revision", "main-line", "--triggered-by", "admin")


class Machines(NamedTuple):
    first: Path
    second: Path


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return process.stdout


def checkout(
    folder: Path, action: str, *options: str, run: str = "one"
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipelines", "checkout", action]
    command += ["--dag", "train", "--run-id", run, *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment(), timeout=300
    )


def expect_success(process: "subprocess.CompletedProcess[str]") -> None:
    assert process.returncode == 0, process.stderr + process.stdout


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    first = tmp_path / "first"
    second = tmp_path / "second"
    remote = str(tmp_path / "shared.git")
    first.mkdir()
    make_workspace(first)
    change(
        first,
        {
            "airflow.git_remote": "shared",
            "airflow.branches": ["main-*", "newest", "personal"],
            "airflow.keep_checkouts": 0,
        },
    )
    with (first / ".dvc/config").open("a") as config:
        config.write(f"    remote = store\n['remote \"store\"']\n    url = {tmp_path / 'store'}\n")
    git(first, "commit", "-qam", "shared")
    git(first, "clone", "-q", "--bare", ".", remote)
    git(tmp_path, "clone", "-q", remote, str(second))
    shutil.copytree(first / ".state", second / ".state", symlinks=True)
    for folder in (first, second):
        git(folder, "remote", "add", "shared", remote)
    return Machines(first, second)


def test_each_task_continues_from_the_results_of_the_other_machine(machines: Machines) -> None:
    first, second = machines
    try:
        expect_success(checkout(first, "start", "--triggered-by", "t"))
        expect_success(checkout(first, "stage", "--name", "ingest"))
        expect_success(checkout(second, "stage", "--name", "redact"))
        expect_success(checkout(first, "stage", "--name", "validate"))
        with ThreadPoolExecutor() as pool:  # at once, as Airflow would
            chunk = pool.submit(checkout, first, "stage", "--name", "chunk")
            base = pool.submit(checkout, second, "stage", "--name", "base")
        expect_success(chunk.result())
        expect_success(base.result())

        # There is nothing to do, because the other machine did it.
        process = checkout(second, "stage", "--name", "chunk")

        assert process.returncode == 99, process.stderr + process.stdout
        assert (second / ".state/runs/train-one/data/chunks.parquet").exists()
        lock = yaml.safe_load(git(second, "show", "shared/runs/train-one:dvc.lock"))
        assert set(lock["stages"]) == {"ingest", "redact", "validate", "chunk", "base"}
        report = git(second, "show", "runs/train-one:data/reports/validation.json")
        assert json.loads(report)["passed"] is True
        check_the_end(machines)
    finally:
        for folder in machines:
            end_processes_below(folder)


def check_the_end(machines: Machines) -> None:
    """The machine that ends the run keeps its reports, whichever machine wrote them.

    The other one removes its checkout at its next task. A later run begins at the remote's newest
    commit and takes over the results.
    """
    first, second = machines
    expect_success(checkout(second, "end"))
    assert (second / ".state/run_reports/train-one/validation.json").exists()
    assert (first / ".state/runs/train-one").exists()
    git(second, "commit", "-q", "--allow-empty", "-m", "newer")
    git(second, "push", "-q", "shared", "HEAD:newest")

    expect_success(checkout(first, "start", "--revision", "newest", run="two"))

    assert not (first / ".state/runs/train-one").exists()
    history = git(first, "log", "--format=%s", "runs/train-two")
    assert "newer" in history
    assert "Take over the results of shared/runs/train-one" in history


@contextmanager
def wiki(folder: Path) -> Iterator[str]:
    """A web server on the folder; its address."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


def add_wiki(machines: Machines, address: str) -> None:
    """Commit a remote source, for both machines."""
    first = machines.first
    values = yaml.safe_load((first / "params.yaml").read_text())
    source = {
        "kind": "web",
        "name": "wiki",
        "start": address,
        "max_pages": 9,
        "requests_per_second": 99,
    }
    sources = [*values["ingest"]["sources"], source]
    change(first, {"ingest.sources": sources, "fetch.allowed_hosts": ["127.0.0.1"]})
    git(first, "commit", "-qam", "a wiki")
    git(first, "push", "-q", "shared", "HEAD:main-line")


def snapshot(folder: Path, run: str) -> str:
    """The pointer to what a run fetched."""
    return git(folder, "show", f"shared/runs/train-{run}:data/raw/fetched.dvc")


def test_what_a_run_fetches_is_its_version_on_every_machine_and_a_dead_source_stops_it(
    machines: Machines, tmp_path: Path
) -> None:
    first, second = machines
    page = tmp_path / "wiki/index.html"
    page.parent.mkdir()
    text = "<html><body><main><h1>Kettles</h1><p>{}</p></main></body></html>"
    page.write_text(text.format("The kettle holds two litres of water and boils in a minute."))
    with wiki(page.parent) as address:
        add_wiki(machines, address)
        expect_success(checkout(first, *START_MAIN_LINE))
        expect_success(checkout(first, "fetch"))
        expect_success(checkout(second, "stage", "--name", "ingest"))
        converted = second / ".state/runs/train-one/data/converted.parquet"
        texts = {row["uri"]: row["text"] for row in files.read(converted, DOCUMENTS)}
        assert "two litres" in texts["wiki/index.html"]

        page.write_text(text.format("The kettle holds three litres of water and boils in two."))
        expect_success(checkout(second, *START_MAIN_LINE, run="two"))
        expect_success(checkout(second, "fetch", run="two"))
        git(second, "fetch", "-q", "shared")
        assert snapshot(second, "one") != snapshot(second, "two")
    expect_success(checkout(second, *START_MAIN_LINE, run="three"))
    process = checkout(second, "fetch", run="three")
    assert process.returncode != 0
    assert "wiki" in process.stderr
    # The snapshot of the run before is what this one began with.
    assert snapshot(second, "three") == snapshot(second, "two")


def test_without_a_remote_source_nothing_is_fetched(machines: Machines) -> None:
    first = machines.first
    expect_success(checkout(first, "start", "--triggered-by", "t"))
    process = checkout(first, "fetch")
    expect_success(process)
    assert "nothing to fetch" in process.stdout
    assert "fetched.dvc" not in git(first, "ls-tree", "-r", "--name-only", "runs/train-one")


def test_a_remote_that_does_not_answer_may_be_tried_again(machines: Machines) -> None:
    first = machines.first
    expect_success(checkout(first, "start", "--triggered-by", "t"))
    git(first, "remote", "set-url", "shared", str(first / "nowhere.git"))

    process = checkout(first, "stage", "--name", "ingest")

    assert process.returncode == 75
    assert "the Git remote shared cannot be reached" in process.stderr


def test_what_no_remote_may_have_is_made_again_on_the_machine_that_reads_it(
    machines: Machines,
) -> None:
    first, second = machines
    with (first / "data/raw/handbook/gate.md").open("a") as page:
        page.write("\nWrite to jane.doe@corp-mail.com about it.\n")
    git(first, "commit", "-qam", "personal")
    git(first, "push", "-q", "shared", "HEAD:personal")
    expect_success(checkout(first, "start", "--revision", "personal", "--triggered-by", "t"))
    expect_success(checkout(first, "stage", "--name", "ingest"))
    process = checkout(second, "stage", "--name", "redact")
    expect_success(process)
    remark = "data/converted.parquet stays on the machine that made it: ingest runs here"
    assert remark in process.stdout
    lock = yaml.safe_load(git(second, "show", "shared/runs/train-one:dvc.lock"))
    documents = lock["stages"]["redact"]["outs"][0]["md5"]
    converted = lock["stages"]["redact"]["deps"][0]["md5"]
    store = first.parent / "store/files/md5"
    assert (store / documents[:2] / documents[2:]).exists()
    assert not (store / converted[:2] / converted[2:]).exists()
