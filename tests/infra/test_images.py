"""The images of infra/*.Containerfile, built by buildah (no daemon, no registry) and run.

    infra/test -m images tests/infra/test_images.py

Airflow answers, a stage runs, Triton loads a model. It takes about 20 minutes on 2 slow cores and
25 GB below /var/tmp. The base is a minimal Debian that debootstrap fetches; CONTAINER_BASE names
another one, such as docker.io/library/python:3.11-slim-bookworm.
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

from tests.dags.conftest import load_launcher, send

ROOT = Path(__file__).parents[2]
MISSING = [program for program in ("buildah", "debootstrap") if shutil.which(program) is None]
PACKAGES = (
    *("python3", "python3-venv", "python3-dev", "python3-pip", "libpython3.11"),
    *("ca-certificates", "git", "g++", "make", "openssh-client"),
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ENTRY = "/srv/assistant/infra/containers/entry"
KEY = "0123456789abcdef" * 4
START_SECONDS = 180
PROBE_CONFIG = """
backend: "python"
input { name: "x" data_type: TYPE_STRING dims: [1] }
output { name: "y" data_type: TYPE_STRING dims: [1] }
"""
PROBE_MODEL = """
import pyarrow, sentence_transformers, torch, transformers


class TritonPythonModel:
    def execute(self, requests):
        return []
"""

pytestmark = [
    pytest.mark.images,
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"no {' and '.join(MISSING)} on this machine: apt-get install buildah debootstrap",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="building without a daemon needs root"),
]


class Builder:
    """buildah with a store of its own. `isolation=chroot` needs no control groups."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.program = ["buildah", "--storage-driver=overlay"]
        self.program += ["--root", str(folder / "store"), "--runroot", str(folder / "run")]
        if self.call("info").returncode:  # on a file system that is an overlay itself
            self.program[1] = "--storage-driver=vfs"

    def call(self, *words: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*self.program, *words], cwd=cwd, capture_output=True, text=True)

    def output(self, *words: str) -> str:
        process = self.call(*words)
        assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
        return process.stdout.strip()

    def build(self, name: str, file: Path, base: str = "", context: Path = ROOT) -> str:
        options = ["--isolation=chroot", "--network=host"]
        if base:
            options += ["--build-arg", f"BASE={base}"]
        self.output("bud", *options, "-t", name, "-f", str(file), str(context))
        return f"localhost/{name}"

    @contextmanager
    def container(self, image: str, file: str = "") -> Iterator["Container"]:
        """A container of this image, after the steps of this Containerfile.

        The steps are done without writing an image: layers of 9 GB take 30 GB and 6 minutes.
        """
        name = self.output("from", image)
        try:
            container = Container(self, name)
            if file:
                container.follow(ROOT / file)
            yield container
        finally:
            self.call("rm", name)


class Container:
    """A container in which commands are run."""

    def __init__(self, builder: Builder, name: str):
        self.builder = builder
        self.name = name

    def command(self, *words: str, **variables: str) -> list[str]:
        """The command line that runs these words in the container."""
        folder = self.builder.folder
        options = ["--isolation=chroot", "--network=host", "--volume", f"{folder}:{folder}"]
        for name, value in variables.items():
            options += ["--env", f"{name}={value}"]
        return [*self.builder.program, "run", *options, self.name, "--", *words]

    def output(self, *words: str, **variables: str) -> str:
        """Output of a command, through the image's entry."""
        command = self.command(ENTRY, *words, **variables)
        process = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
        return process.stdout

    def follow(self, file: Path) -> None:
        """Do the steps of a Containerfile after FROM. Fails on one that is not done here."""
        steps = read_steps(file)
        assert [kind for kind, _ in steps[:2]] == ["ARG", "FROM"]
        for kind, rest in steps[2:]:
            match kind:
                case "RUN":
                    subprocess.run(self.command("sh", "-c", rest), check=True)
                case "COPY":
                    self.builder.output("copy", self.name, *rest.split())
                case "ENV":
                    settings = rest.replace("$PATH", SYSTEM_PATH).split()
                    options = [f"--env={setting}" for setting in settings]
                    self.builder.output("config", *options, self.name)
                case _:
                    assert kind == "CMD", f"{file}: {kind}"


def read_steps(file: Path) -> list[tuple[str, str]]:
    """The instructions of a Containerfile: kind and the rest of the line."""
    steps: list[tuple[str, str]] = []
    for line in file.read_text().replace("\\\n", "").splitlines():
        if line and not line.startswith("#"):
            kind, _, rest = line.partition(" ")
            steps.append((kind, rest))
    return steps


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    folder = Path(tempfile.mkdtemp(prefix="images-", dir="/var/tmp"))
    builder = Builder(folder)
    try:
        yield builder
    finally:
        builder.call("rm", "--all")
        builder.call("rmi", "--all", "--force")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def base(builder: Builder) -> str:
    if os.environ.get("CONTAINER_BASE"):
        return os.environ["CONTAINER_BASE"]
    root = builder.folder / "debian"
    options = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
    command = ["debootstrap", *options, "bookworm", str(root)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-2000:]
    lines = ["FROM scratch", "ADD debian /", f"ENV PATH={SYSTEM_PATH}"]
    if CERTIFICATES.exists():  # this machine may trust a certificate of its own
        shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
        names = ("SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
        lines += [f"ENV {name}={CERTIFICATES}" for name in names]
    file = builder.folder / "Base"
    file.write_text("\n".join(lines) + "\n")
    image = builder.build("base", file, context=builder.folder)
    shutil.rmtree(root)
    return image


@pytest.fixture(scope="module")
def airflow(builder: Builder, base: str) -> str:
    return builder.build("assistant-airflow", ROOT / "infra/airflow.Containerfile", base)


def test_airflow_migrates_makes_roles_parses_the_dags_and_answers(
    builder: Builder, airflow: str
) -> None:
    secrets = {
        "AIRFLOW_ADMIN_PASSWORD": "first",
        "AIRFLOW__API_AUTH__JWT_SECRET": KEY,
        "AIRFLOW__API__SECRET_KEY": KEY,
    }
    with builder.container(airflow) as container:
        version = container.output("airflow", "version").strip()
        assert f"apache-airflow=={version}" in (ROOT / "pyproject.toml").read_text()
        assert container.output("id", "-u").strip() == "50000"
        container.output("infra/containers/migrate", **secrets)
        container.output("infra/containers/migrate", **secrets)  # safe to repeat
        container.output("airflow", "dags", "reserialize")
        listing = container.output("airflow", "dags", "list", "--output", "json")
        dags = json.loads(listing.splitlines()[-1])
        assert {dag["dag_id"] for dag in dags} == {"train", "refresh", "monitor"}
        check_the_api_server(container, secrets)


def check_the_api_server(container: Container, secrets: dict[str, str]) -> None:
    """The API server answers and lets the first administrator log in."""
    port = load_launcher().free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = container.command(ENTRY, "airflow", "api-server", *options, **secrets)
    url = f"http://127.0.0.1:{port}"
    with run_server(command, container.builder.folder / "server.log") as server:
        server.wait_for(f"{url}/api/v2/monitor/health")
        login = {"username": "admin", "password": "first"}
        status, answer = send(f"{url}/auth/token", "POST", login)
    assert status < 300
    assert "access_token" in json.loads(answer)


class Server:
    """A server that a test started."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path):
        self.process = process
        self.log = log

    def wait_for(self, url: str) -> None:
        """Wait until the server answers there."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers(url):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.5)

    @staticmethod
    def _answers(url: str) -> bool:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
        return False


@contextmanager
def run_server(command: list[str], log: Path) -> Iterator[Server]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield Server(process, log)
    finally:
        load_launcher().stop(process)


def test_a_worker_clones_the_repository_and_runs_a_stage(builder: Builder, airflow: str) -> None:
    repository = builder.folder / "repository.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(ROOT), str(repository)], check=True)
    # Git refuses if HEAD is main already.
    make_main = ["git", "branch", "--force", "main", "HEAD"]
    subprocess.run(make_main, cwd=repository, capture_output=True)
    subprocess.run(["chown", "-R", "50000:0", str(repository)], check=True)
    builder.folder.chmod(0o755)
    variables = {"PIPELINE_REPOSITORY": str(repository), "WEAVIATE_URL": "http://127.0.0.1:1"}
    with builder.container(airflow, "infra/worker.Containerfile") as container:
        check = [".venv/bin/python", "-m", "pipelines", "check"]
        assert "params.yaml: good" in container.output(*check, **variables)
        # As a task's checkout runs it.
        repro = 'PATH="$PWD/.venv/bin:$PATH" dvc repro ingest'
        assert "'ingest'" in container.output("sh", "-c", repro, **variables)
        assert "ingest:" in container.output("cat", "dvc.lock")
        assert "celery" in container.output("airflow", "celery", "worker", "--help")


def test_triton_loads_a_model_with_the_packages_of_the_exported_models(
    builder: Builder, base: str
) -> None:
    models = builder.folder / "models"
    (models / "probe/1").mkdir(parents=True)
    (models / "probe/config.pbtxt").write_text(PROBE_CONFIG)
    (models / "probe/1/model.py").write_text(PROBE_MODEL)
    launcher = load_launcher()
    http_port = launcher.free_port()
    ports = {"http": http_port, "grpc": launcher.free_port(), "metrics": launcher.free_port()}
    options = [f"--model-repository={models}", "--model-control-mode=explicit"]
    options.append("--load-model=probe")
    for service, port in ports.items():
        options += [f"--{service}-address=127.0.0.1", f"--{service}-port={port}"]
    image = build_triton_base(builder, base)
    with builder.container(image, "infra/triton.Containerfile") as container:
        command = container.command("tritonserver", *options)
        with run_server(command, builder.folder / "triton.log") as server:
            server.wait_for(f"http://127.0.0.1:{http_port}/v2/models/probe/ready")


def build_triton_base(builder: Builder, base: str) -> str:
    """An image laid out as NVIDIA's, which cannot be had without a registry.

    It has the tritonserver of the package nvidia-pytriton below /opt/tritonserver, with the stub of
    the base's Python.
    """
    packages = next((ROOT / ".venv-triton/lib").glob("python3.*")) / "site-packages"
    server = builder.folder / "tritonserver"
    shutil.copytree(packages / "pytriton/tritonserver", server)
    shutil.copytree(packages / "nvidia_pytriton.libs", server / "lib", dirs_exist_ok=True)
    stub = server / "python_backend_stubs/3.11/triton_python_backend_stub"
    shutil.copy(stub, server / "backends/python")
    file = builder.folder / "Triton"
    file.write_text(
        f"FROM {base}\n"
        "ADD tritonserver /opt/tritonserver\n"
        "ENV LD_LIBRARY_PATH=/opt/tritonserver/lib\n"
    )
    return builder.build("triton-base", file, context=builder.folder)
