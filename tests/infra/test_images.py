"""The images of infra/*.Containerfile, really built by buildah (no daemon, no registry) and run: Airflow answers, a stage runs, Triton loads a model. About 20 minutes on 2 slow cores and 25 GB below /var/tmp.

    infra/test -m images tests/infra/test_images.py

The base is a minimal Debian that debootstrap fetches; CONTAINER_BASE names another one, such as docker.io/library/python:3.11-slim-bookworm.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.dags.conftest import launcher

ROOT = Path(__file__).parents[2]
MISSING = [program for program in ("buildah", "debootstrap") if shutil.which(program) is None]
PACKAGES = "python3,python3-venv,python3-dev,python3-pip,libpython3.11,ca-certificates,git,g++,make,openssh-client"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

pytestmark = [
    pytest.mark.images,
    pytest.mark.skipif(bool(MISSING), reason=f"no {' and '.join(MISSING)} on this machine: apt-get install buildah debootstrap"),
    pytest.mark.skipif(os.geteuid() != 0, reason="building without a daemon needs root"),
]


class Builder:
    """buildah with a store of its own. `isolation=chroot` needs no control groups."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = ["buildah", "--storage-driver=overlay", "--root", str(folder / "store"), "--runroot", str(folder / "run")]
        if self.call("info").returncode:  # on a file system that is an overlay itself
            self.store[1] = "--storage-driver=vfs"

    def call(self, *words: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*self.store, *words], cwd=cwd, capture_output=True, text=True)

    def build(self, name: str, file: Path, base: str = "", context: Path = ROOT) -> str:
        done = self.call("bud", "--isolation=chroot", "--network=host", *(["--build-arg", f"BASE={base}"] if base else []), "-t", name, "-f", str(file), str(context))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return f"localhost/{name}"

    @contextmanager
    def container(self, image: str, file: str = "") -> Iterator[list[str]]:
        """The words that run a command in a container of this image, after the steps of this file. They are done without writing an image: layers of 9 GB want 30 GB and 6 minutes."""
        name = self.done("from", image)
        try:
            words = [*self.store, "run", "--isolation=chroot", "--network=host", "--volume", f"{self.folder}:{self.folder}", name, "--"]
            for kind, rest in steps(ROOT / file) if file else []:
                if kind == "RUN":
                    subprocess.run([*words, "sh", "-c", rest], check=True)
                elif kind == "COPY":
                    self.done("copy", name, *rest.split())
                elif kind == "ENV":
                    self.done("config", *(f"--env={setting.replace('$PATH', SYSTEM_PATH)}" for setting in rest.split()), name)
            yield words
        finally:
            self.call("rm", name)

    def done(self, *words: str) -> str:
        done = self.call(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def steps(file: Path) -> list[tuple[str, str]]:
    """The instructions of a Containerfile after FROM. Fails on one that `container` cannot do."""
    lines = [line for line in file.read_text().replace("\\\n", "").splitlines() if line and not line.startswith("#")]
    found = [(kind, rest) for kind, _, rest in (line.partition(" ") for line in lines)]
    assert [kind for kind, _ in found[:2]] == ["ARG", "FROM"]
    assert {kind for kind, _ in found[2:]} <= {"RUN", "COPY", "ENV", "CMD"}
    return found[2:]


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    folder = Path(tempfile.mkdtemp(prefix="images-", dir="/var/tmp"))
    made = Builder(folder)
    try:
        yield made
    finally:
        made.call("rm", "--all")
        made.call("rmi", "--all", "--force")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def base(builder: Builder) -> str:
    if os.environ.get("CONTAINER_BASE"):
        return os.environ["CONTAINER_BASE"]
    root = builder.folder / "debian"
    done = subprocess.run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    lines = ["FROM scratch", "ADD debian /", f"ENV PATH={SYSTEM_PATH}"]
    if CERTIFICATES.exists():  # this machine may trust a certificate of its own
        shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
        lines.append(f"ENV SSL_CERT_FILE={CERTIFICATES} PIP_CERT={CERTIFICATES}")
    (builder.folder / "Base").write_text("\n".join(lines) + "\n")
    image = builder.build("base", builder.folder / "Base", context=builder.folder)
    shutil.rmtree(root)
    return image


@pytest.fixture(scope="module")
def airflow(builder: Builder, base: str) -> str:
    return builder.build("assistant-airflow", ROOT / "infra/airflow.Containerfile", base)


def ran(words: list[str], *command: str, **environment: str) -> str:
    """Output of a command in a container, through the image's entry."""
    given = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    done = subprocess.run([*words[:-2], *given, *words[-2:], "/srv/assistant/infra/containers/entry", *command], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_airflow_migrates_makes_roles_parses_the_dags_and_answers(builder: Builder, airflow: str) -> None:
    port = launcher().free_port()
    secrets = {"AIRFLOW_ADMIN_PASSWORD": "first", "AIRFLOW__API_AUTH__JWT_SECRET": "0123456789abcdef" * 4, "AIRFLOW__API__SECRET_KEY": "0123456789abcdef" * 4}
    with builder.container(airflow) as words:
        assert f"apache-airflow=={ran(words, 'airflow', 'version').strip()}" in (ROOT / "pyproject.toml").read_text()
        assert ran(words, "id", "-u").strip() == "50000"
        for _ in range(2):  # safe to repeat
            ran(words, "infra/containers/migrate", **secrets)
        ran(words, "airflow", "dags", "reserialize")
        assert {dag["dag_id"] for dag in json.loads(ran(words, "airflow", "dags", "list", "--output", "json").splitlines()[-1])} == {"train", "refresh", "monitor"}
        given = [word for name, value in secrets.items() for word in ("--env", f"{name}={value}")]
        command = [*words[:-2], *given, *words[-2:], "/srv/assistant/infra/containers/entry", "airflow", "api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        with (builder.folder / "server.log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            answered(f"http://127.0.0.1:{port}/api/v2/monitor/health", server, builder.folder / "server.log")
            login = urllib.request.Request(f"http://127.0.0.1:{port}/auth/token", data=b'{"username": "admin", "password": "first"}', headers={"Content-Type": "application/json"})
            with urllib.request.urlopen(login, timeout=60) as answer:
                assert "access_token" in json.load(answer)
        finally:
            launcher().stop(server)


def answered(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 180
    while True:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200
            return
        assert server.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)


def test_a_worker_clones_the_repository_and_runs_a_stage(builder: Builder, airflow: str) -> None:
    repository = builder.folder / "repository.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(ROOT), str(repository)], check=True)
    subprocess.run(["git", "branch", "--force", "main", "HEAD"], cwd=repository, capture_output=True)  # refused where HEAD is main
    subprocess.run(["chown", "-R", "50000:0", str(repository)], check=True)
    builder.folder.chmod(0o755)
    given = {"PIPELINE_REPOSITORY": str(repository), "WEAVIATE_URL": "http://127.0.0.1:1"}
    with builder.container(airflow, "infra/worker.Containerfile") as words:
        assert "params.yaml: good" in ran(words, ".venv/bin/python", "-m", "pipelines", "check", **given)
        assert "'ingest'" in ran(words, "sh", "-c", 'PATH="$PWD/.venv/bin:$PATH" dvc repro ingest', **given)  # as a task's checkout runs it
        assert "ingest:" in ran(words, "cat", "dvc.lock")
        assert "celery" in ran(words, "airflow", "celery", "worker", "--help")


def test_triton_loads_a_model_with_the_packages_of_the_exported_ones(builder: Builder, base: str) -> None:
    models = builder.folder / "models"
    (models / "probe/1").mkdir(parents=True)
    (models / "probe/config.pbtxt").write_text('backend: "python"\ninput { name: "x" data_type: TYPE_STRING dims: [1] }\noutput { name: "y" data_type: TYPE_STRING dims: [1] }\n')
    (models / "probe/1/model.py").write_text("import torch, transformers, sentence_transformers, pyarrow\n\n\nclass TritonPythonModel:\n    def execute(self, requests):\n        return []\n")
    http, grpc, metrics = (launcher().free_port() for _ in range(3))
    ports = [f"--{kind}-{what}" for kind, port in (("http", http), ("grpc", grpc), ("metrics", metrics)) for what in ("address=127.0.0.1", f"port={port}")]
    with builder.container(like_nvidias(builder, base), "infra/triton.Containerfile") as words:
        command = [*words, "tritonserver", f"--model-repository={models}", "--model-control-mode=explicit", "--load-model=probe", *ports]
        with (builder.folder / "triton.log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            answered(f"http://127.0.0.1:{http}/v2/models/probe/ready", server, builder.folder / "triton.log")
        finally:
            launcher().stop(server)


def like_nvidias(builder: Builder, base: str) -> str:
    """An image laid out as NVIDIA's, which cannot be had without a registry: tritonserver of the package nvidia-pytriton below /opt/tritonserver, with the stub of the base's Python."""
    packages = next((ROOT / ".venv-triton/lib").glob("python3.*")) / "site-packages"
    shutil.copytree(packages / "pytriton/tritonserver", builder.folder / "tritonserver")
    shutil.copytree(packages / "nvidia_pytriton.libs", builder.folder / "tritonserver/lib", dirs_exist_ok=True)
    shutil.copy(builder.folder / "tritonserver/python_backend_stubs/3.11/triton_python_backend_stub", builder.folder / "tritonserver/backends/python")
    (builder.folder / "Triton").write_text(f"FROM {base}\nADD tritonserver /opt/tritonserver\nENV LD_LIBRARY_PATH=/opt/tritonserver/lib\n")
    return builder.build("triton-base", builder.folder / "Triton", context=builder.folder)
