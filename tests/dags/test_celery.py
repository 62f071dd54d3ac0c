"""`train` on CeleryExecutor: real Postgres and Redis, two workers with clones, DVC caches and queues of their own, a folder as DVC remote, a bare Git repository between them.

infra/test -m celery tests/dags/test_celery.py
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines import graph
from pipelines.checkouts import tree
from pipelines.serving import server
from pipelines.serving.client import ask
from pipelines.serving.configs import MODELS
from tests.conftest import end
from tests.dags.conftest import SETTINGS, Airflow, launcher, make_airflow_workspace
from tests.end_to_end.test_pipeline import change

ROOT = Path(__file__).parents[2]
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path(shutil.which("initdb") or "/none").parent)
NEEDED = {"postgresql": POSTGRES / "initdb", "redis-server": Path(shutil.which("redis-server") or "/none")}
MISSING = [package for package, program in NEEDED.items() if not program.exists()]
HOLD_WEAVIATE = "import json, sys; from pipelines.vectorstore import server\nwith server.held() as c: print(json.dumps(c), flush=True); sys.stdin.read()"

pytestmark = [pytest.mark.celery, pytest.mark.skipif(bool(MISSING), reason=f"not on this machine: apt-get install {' '.join(MISSING)}")]


class Machines(NamedTuple):
    """What runs: the REST API, the clones of the two workers, the environment that leads to Weaviate."""

    airflow: Airflow
    first: Path
    second: Path
    weaviate: dict[str, str]


@contextmanager
def process(command: list[str], folder: Path, environment: dict[str, str], log: Path, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A server in a group of its own, stopped with it."""
    with log.open("ab") as out:
        started = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True, **options)
    try:
        yield started
    finally:
        launcher().stop(started)


@contextmanager
def postgres(port: int) -> Iterator[str]:
    """URL of an empty database. Postgres refuses to run as root, so root starts it as its package's user."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/var/tmp"))  # where that user may enter
    options: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data, plain = folder / "data", {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    try:
        subprocess.run([str(POSTGRES / "initdb"), "-D", str(data), "-U", "airflow", "--auth=trust", "--no-sync", "-E", "UTF8"], check=True, capture_output=True, env=plain, cwd=folder, **options)
        command = [str(POSTGRES / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with process(command, folder, plain, folder / "log", **options):
            ready = [str(POSTGRES / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
            Airflow(folder, 0).wait("Postgres", lambda: subprocess.run(ready, capture_output=True).returncode == 0, 60)
            yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def weaviate(folder: Path) -> Iterator[dict[str, str]]:
    """One Weaviate for all machines, and the environment that leads there."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD_WEAVIATE], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(folder)})
    try:
        assert holder.stdout is not None
        found = json.loads(holder.stdout.readline())
        yield {"WEAVIATE_URL": f"http://127.0.0.1:{found['http_port']}", "WEAVIATE_GRPC_PORT": str(found["grpc_port"]), "WEAVIATE_API_KEY": found["api_key"]}
    finally:
        holder.communicate()
        end(folder)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def make_machines(folder: Path) -> list[Path]:
    """Three clones of one repository: where Airflow's services run, a worker, a worker with a GPU's queue."""
    home = make_airflow_workspace(folder / "home")
    change(home, {"airflow.git_remote": "origin"})
    (home / ".dvc/config").write_text((home / ".dvc/config").read_text() + f"    remote = store\n['remote \"store\"']\n    url = {folder / 'store'}\n")
    git(home, "commit", "-qam", "shared")
    git(home, "clone", "-q", "--bare", ".", str(folder / "shared.git"))
    git(home, "remote", "add", "origin", str(folder / "shared.git"))
    machines = [home]
    for name in ("first", "second"):
        git(folder, "clone", "-q", str(folder / "shared.git"), name)
        for item in (".venv", ".venv-airflow", ".venv-triton"):
            (folder / name / item).symlink_to(ROOT / item)
        shutil.copytree(home / ".state", folder / name / ".state", symlinks=True)
        machines.append(folder / name)
    return machines


@pytest.fixture(scope="module")
def celery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    started = launcher()
    home, first, second = make_machines(tmp_path_factory.mktemp("celery"))
    port, postgres_port, redis_port = started.free_port(), started.free_port(), started.free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "WEAVIATE_", "DVC_", "GIT_"))}
    with ExitStack() as stack:
        database = stack.enter_context(postgres(postgres_port))
        stack.enter_context(process([str(NEEDED["redis-server"]), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""], home, kept, home / "redis.log"))
        reached = stack.enter_context(weaviate(home))
        ours = {**SETTINGS, "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database, "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{redis_port}/0"}
        ports = (started.free_port(), started.free_port())
        services = started.environment(home, port, ports, {**kept, **ours, "HF_HUB_OFFLINE": "1", "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs")})
        airflow = str(home / ".venv-airflow/bin/airflow")
        subprocess.run([airflow, "db", "migrate"], env=services, cwd=home, check=True, capture_output=True)
        for service in ("api-server", "scheduler", "dag-processor", "triggerer"):
            stack.enter_context(process([airflow, service], home, services, home / f"{service}.log"))
        for clone, queue in ((first, "default"), (second, "gpu")):
            own = {"AIRFLOW_HOME": str(clone / ".state/airflow"), "PYTHONPATH": str(clone), "AIRFLOW__CORE__DAGS_FOLDER": str(clone / "dags")}
            command = [airflow, "celery", "worker", "--queues", queue, "--concurrency", "2", "--celery-hostname", f"{queue}@%h", "--skip-serve-logs"]
            stack.enter_context(process(command, clone, {**services, **own, **reached}, home / f"worker-{queue}.log"))
        running = Airflow(home, port)
        try:
            running.wait("Airflow's start", lambda: started.is_ready(port))
            running.wait("the DAGs", lambda: len(running.get("/api/v2/dags").get("dags", [])) == 3)
            yield Machines(running, first, second, reached)
        finally:
            for clone in (first, second):
                end(clone)


def test_a_run_is_done_by_two_workers_each_with_its_own_queue_and_clone(celery: Machines) -> None:
    airflow, first, second, _ = celery
    assert airflow.call("PATCH", "/api/v2/dags/train", {"is_paused": False})[0] == 200
    run = airflow.trigger("train", {"release.approval": "auto"})

    assert airflow.finished("train", run) == "success", airflow.states("train", run)

    stages = list(graph.read(airflow.folder / "dvc.yaml"))
    tasks = airflow.tasks("train", run)
    assert {tasks[stage]["state"] for stage in stages} == {"success"}
    gpu = {"base", "finetune", "evaluate"}
    assert {name for name, task in tasks.items() if task["queue"] == "gpu"} == gpu
    done = {clone: {path.stem for path in (clone / ".state/runs" / tree.named("train", run).name / ".state/seconds").glob("*.json")} for clone in (first, second)}
    assert done == {first: set(stages) - gpu, second: gpu}
    assert "handbook: 4 documents, 0 rejected" in airflow.log("train", run, "ingest")
    released = [json.loads(line) for line in git(airflow.folder / "../shared.git", "show", "releases:models/releases.jsonl").splitlines()]
    assert [event["kind"] for event in released] == ["approved", "released"]
    assert (first / ".state/run_reports" / tree.named("train", run).name / "verdict.json").exists()


def test_a_triton_of_its_own_serves_the_release_and_logs_its_requests(celery: Machines, tmp_path: Path) -> None:
    models, traffic = tmp_path / "models", tmp_path / "traffic"
    models.mkdir()
    git(celery.second, "fetch", "-q", "--tags", "origin")  # as a container does when it starts
    environment = {**os.environ, **celery.weaviate, "PYTHONPATH": str(celery.second)}
    brought = subprocess.run([sys.executable, "infra/containers/champion", str(models)], cwd=celery.second, env=environment, capture_output=True, text=True)
    assert brought.returncode == 0, brought.stderr
    release = json.loads((models / "release.json").read_text())["release_id"]

    with server.started(models, load=list(MODELS), log=tmp_path / "triton.log", environment={**celery.weaviate, "ASSISTANT_TRAFFIC": str(traffic)}) as triton:
        answer = ask("How do I override the gate?", triton=triton)

    assert (answer.release_id, bool(answer.citations)) == (release, True)
    assert list(traffic.rglob("*.parquet"))
