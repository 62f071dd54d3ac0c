"""`train` on CeleryExecutor: real Postgres and Redis, two workers, each with its own clone.

    infra/test -m celery tests/dags/test_celery.py

The workers have DVC caches and queues of their own; a folder as DVC remote and a bare Git
repository are between them.
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
from pipelines.runs import work_trees
from pipelines.serving import triton_server
from pipelines.serving.client import ask
from pipelines.serving.model_configs import MODELS
from tests.conftest import end_processes_below
from tests.dags.conftest import (
    SETTINGS,
    Airflow,
    clean_environment,
    git,
    load_launcher,
    make_airflow_workspace,
)
from tests.end_to_end.test_pipeline import change

ROOT = Path(__file__).parents[2]


def find_postgres() -> Path:
    """The folder of Postgres' programs, the newest if there are several."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return folders[0] if folders else Path(shutil.which("initdb") or "/none").parent


POSTGRES = find_postgres()
PROGRAMS = {
    "postgresql": POSTGRES / "initdb",
    "redis-server": Path(shutil.which("redis-server") or "/none"),
}
MISSING = [package for package, program in PROGRAMS.items() if not program.exists()]
HOLD_WEAVIATE = """
import sys
from pipelines.vectorstore import hold_server

with hold_server() as connection:
    print(connection.model_dump_json(), flush=True)
    sys.stdin.read()
"""

pytestmark = [
    pytest.mark.celery,
    pytest.mark.skipif(
        bool(MISSING), reason=f"not on this machine: apt-get install {' '.join(MISSING)}"
    ),
]


class Machines(NamedTuple):
    """The REST API, the clones of the two workers, the environment that leads to Weaviate."""

    airflow: Airflow
    first: Path
    second: Path
    weaviate: dict[str, str]


@contextmanager
def run_server(
    command: list[str], folder: Path, environment: dict[str, str], log: Path, **options: Any
) -> Iterator[None]:
    """A server in a process group of its own, stopped with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **options,
        )
    try:
        yield
    finally:
        load_launcher().stop(process)


@contextmanager
def run_postgres(port: int) -> Iterator[str]:
    """URL of an empty database.

    Postgres refuses to run as root, so root starts it as its package's user.
    """
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/var/tmp"))  # where that user may enter
    options: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    data = folder / "data"
    initialise = [str(POSTGRES / "initdb"), "-D", str(data), "-U", "airflow"]
    initialise += ["--auth=trust", "--no-sync", "-E", "UTF8"]
    serve = [str(POSTGRES / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
    serve += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    probe = [str(POSTGRES / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]

    def is_ready() -> bool:
        return subprocess.run(probe, capture_output=True).returncode == 0

    try:
        subprocess.run(
            initialise, check=True, capture_output=True, env=environment, cwd=folder, **options
        )
        with run_server(serve, folder, environment, folder / "log", **options):
            Airflow(folder, 0).wait("Postgres", is_ready, 60)
            yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def run_weaviate(folder: Path) -> Iterator[dict[str, str]]:
    """One Weaviate for all machines, and the environment that leads there."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_WEAVIATE],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    try:
        assert holder.stdout is not None
        connection = json.loads(holder.stdout.readline())
        yield {
            "WEAVIATE_URL": f"http://127.0.0.1:{connection['http_port']}",
            "WEAVIATE_GRPC_PORT": str(connection["grpc_port"]),
            "WEAVIATE_API_KEY": connection["api_key"],
        }
    finally:
        holder.communicate()
        end_processes_below(folder)


def make_machines(folder: Path) -> list[Path]:
    """Three clones of one repository: Airflow's services, a worker, a worker for the GPU queue."""
    home = make_airflow_workspace(folder / "home")
    change(home, {"airflow.git_remote": "origin"})
    with (home / ".dvc/config").open("a") as config:
        config.write(f"    remote = store\n['remote \"store\"']\n    url = {folder / 'store'}\n")
    git(home, "commit", "-qam", "shared")
    git(home, "clone", "-q", "--bare", ".", str(folder / "shared.git"))
    git(home, "remote", "add", "origin", str(folder / "shared.git"))
    machines = [home]
    for name in ("first", "second"):
        machine = folder / name
        git(folder, "clone", "-q", str(folder / "shared.git"), name)
        for environment in (".venv", ".venv-airflow", ".venv-triton", ".venv-openvino"):
            (machine / environment).symlink_to(ROOT / environment)
        shutil.copytree(home / ".state", machine / ".state", symlinks=True)
        machines.append(machine)
    return machines


@pytest.fixture(scope="module")
def celery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    launcher = load_launcher()
    home, first, second = make_machines(tmp_path_factory.mktemp("celery"))
    port = launcher.free_port()
    redis_port = launcher.free_port()
    log_ports = (launcher.free_port(), launcher.free_port())
    redis = [str(PROGRAMS["redis-server"]), "--port", str(redis_port)]
    redis += ["--bind", "127.0.0.1", "--save", ""]
    with ExitStack() as stack:
        database = stack.enter_context(run_postgres(launcher.free_port()))
        stack.enter_context(run_server(redis, home, clean_environment(), home / "redis.log"))
        weaviate = stack.enter_context(run_weaviate(home))
        settings = {
            **clean_environment(),
            **SETTINGS,
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "HF_HUB_OFFLINE": "1",
        }
        environment = launcher.environment(home, port, log_ports, settings)
        start_services(stack, home, environment)
        start_worker(stack, first, "default", {**environment, **weaviate})
        start_worker(stack, second, "gpu", {**environment, **weaviate})
        airflow = Airflow(home, port)
        try:
            airflow.wait("Airflow's start", lambda: launcher.is_ready(port))
            airflow.wait("the DAGs", lambda: len(airflow.get("/api/v2/dags").get("dags", [])) == 3)
            yield Machines(airflow, first, second, weaviate)
        finally:
            for clone in (first, second):
                end_processes_below(clone)


def start_services(stack: ExitStack, home: Path, environment: dict[str, str]) -> None:
    """Airflow's own services, from the clone `home`."""
    program = str(home / ".venv-airflow/bin/airflow")
    migrate = [program, "db", "migrate"]
    subprocess.run(migrate, env=environment, cwd=home, check=True, capture_output=True)
    for service in ("api-server", "scheduler", "dag-processor", "triggerer"):
        log = home / f"{service}.log"
        stack.enter_context(run_server([program, service], home, environment, log))


def start_worker(stack: ExitStack, clone: Path, queue: str, environment: dict[str, str]) -> None:
    """A Celery worker with a clone of its own."""
    program = str(clone / ".venv-airflow/bin/airflow")
    worker_environment = {
        **environment,
        "AIRFLOW_HOME": str(clone / ".state/airflow"),
        "PYTHONPATH": str(clone),
        "AIRFLOW__CORE__DAGS_FOLDER": str(clone / "dags"),
    }
    command = [program, "celery", "worker", "--queues", queue, "--concurrency", "2"]
    command += ["--celery-hostname", f"{queue}@%h", "--skip-serve-logs"]
    log = clone.parent / f"worker-{queue}.log"
    stack.enter_context(run_server(command, clone, worker_environment, log))


def test_a_run_is_done_by_two_workers_each_with_its_own_queue_and_clone(celery: Machines) -> None:
    airflow = celery.airflow
    airflow.unpause("train")
    run = airflow.trigger("train", {"release.approval": "auto"})

    assert airflow.final_state("train", run) == "success", airflow.states("train", run)

    stages = set(graph.read(airflow.folder / "dvc.yaml"))
    tasks = airflow.tasks("train", run)
    assert {tasks[stage]["state"] for stage in stages} == {"success"}
    gpu_stages = {"base", "finetune", "evaluate"}
    assert {name for name, task in tasks.items() if task["queue"] == "gpu"} == gpu_stages
    run_name = work_trees.run_of("train", run).name
    assert stages_run_on(celery.first, run_name) == stages - gpu_stages
    assert stages_run_on(celery.second, run_name) == gpu_stages
    assert "handbook: 4 documents, 0 rejected" in airflow.log("train", run, "ingest")
    shared_repository = airflow.folder / "../shared.git"
    ledger = git(shared_repository, "show", "releases:models/releases.jsonl").splitlines()
    assert [json.loads(line)["kind"] for line in ledger] == ["approved", "released"]
    assert (celery.first / ".state/run_reports" / run_name / "verdict.json").exists()


def stages_run_on(clone: Path, run_name: str) -> set[str]:
    notes = (clone / ".state/runs" / run_name / ".state/seconds").glob("*.json")
    return {note.stem for note in notes}


def test_a_triton_of_its_own_serves_the_release_and_logs_its_requests(
    celery: Machines, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    traffic = tmp_path / "traffic"
    models.mkdir()
    git(celery.second, "fetch", "-q", "--tags", "origin")  # as a container does when it starts
    process = subprocess.run(
        [sys.executable, "infra/containers/champion", str(models)],
        cwd=celery.second,
        env={**os.environ, **celery.weaviate, "PYTHONPATH": str(celery.second)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    release = json.loads((models / "release.json").read_text())["release_id"]

    launch = triton_server.Launch(
        models,
        list(MODELS),
        tmp_path / "triton.log",
        {**celery.weaviate, "ASSISTANT_TRAFFIC": str(traffic)},
    )
    with triton_server.run(launch) as triton:
        answer = ask("How do I override the gate?", triton)

    assert answer.release_id == release
    assert answer.citations
    assert list(traffic.rglob("*.parquet"))
