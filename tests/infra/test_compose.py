"""infra/compose.yaml against the Compose specification and against what it names here."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SECURITY = ROOT / "data/raw/handbook/security.md"
COMPOSE = ROOT / "infra/compose.yaml"
SECRET = re.compile("PASSWORD|SECRET|KEY|CONN|BROKER|REPOSITORY")
NOT_SECRET = ("AUTHENTICATION_APIKEY_ENABLED", "AUTHENTICATION_APIKEY_USERS")
UNKNOWN_SETTINGS = """
import sys
from airflow.configuration import conf

unknown = []
for name in sys.argv[1:]:
    section, option = name.lower().split("__")[1:]
    options = conf.configuration_description.get(section, {}).get("options", {})
    if option not in options:
        unknown.append(name)
print("UNKNOWN", unknown)
"""


class Variable(NamedTuple):
    """A variable of a service's environment."""

    service: str
    name: str
    value: str


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return content


def variables_of(compose: dict[str, Any]) -> list[Variable]:
    variables: list[Variable] = []
    for service, body in compose["services"].items():
        for name, value in body.get("environment", {}).items():
            variables.append(Variable(service, name, str(value)))
    return variables


def test_the_file_obeys_the_compose_specification() -> None:
    program = str(Path(sys.executable).parent / "check-jsonschema")

    process = subprocess.run(
        [program, "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
    )

    assert process.returncode == 0, process.stdout + process.stderr


def test_every_secret_comes_from_the_environment_and_is_made_by_one_command(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    num_secrets = 0
    for variable in variables_of(compose):
        if SECRET.search(variable.name) and variable.name not in NOT_SECRET:
            num_secrets += 1
            assert "${" in variable.value, variable
    assert num_secrets > 0

    values = make_secrets(tmp_path, "compose")["infra/.env"]

    required_names = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    assert required_names == set(values)
    assert [name for name, value in values.items() if not value] == ["PIPELINE_REPOSITORY"]


def make_secrets(folder: Path, kind: str) -> dict[str, dict[str, str]]:
    """The files that infra/containers/secrets makes in a copy of infra/, with their values."""
    program = folder / "infra/containers/secrets"
    if not program.exists():
        program.parent.mkdir(parents=True)
        (folder / "infra/kubernetes").mkdir()
        program.write_text((ROOT / "infra/containers/secrets").read_text())
    process = subprocess.run([sys.executable, str(program), kind], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    values: dict[str, dict[str, str]] = {}
    for path in folder.rglob("*.env"):
        assert oct(path.stat().st_mode & 0o777) == "0o600"
        lines = path.read_text().splitlines()
        values[str(path.relative_to(folder))] = dict(line.split("=", 1) for line in lines)
    return values


@pytest.mark.parametrize("kind", ["compose", "kubernetes"])
def test_secrets_that_exist_stay_and_what_is_missing_is_added(kind: str, tmp_path: Path) -> None:
    values = make_secrets(tmp_path, kind)
    assert make_secrets(tmp_path, kind) == values
    for name in values:
        path = tmp_path / name
        text = path.read_text()
        # As an older version wrote it, with what the user filled in, and without its last line end.
        first_line = text.splitlines()[0]
        path.write_text(f"{first_line}\nMINE=a=b")
        repaired = make_secrets(tmp_path, kind)[name]
        assert path.read_text().startswith(f"{first_line}\nMINE=a=b")
        assert repaired.keys() == {*values[name], "MINE"}
        assert repaired["MINE"] == "a=b"
        path.write_text(text)


def test_addresses_and_services_have_one_password_whichever_file_was_lost(tmp_path: Path) -> None:
    addresses = {
        "POSTGRES_PASSWORD": ("airflow", "connection"),
        "REDIS_PASSWORD": ("broker", "connection"),
        "GATEWAY_REDIS_PASSWORD": ("gateway", "GATEWAY_LIMITS_URL"),
    }
    before = make_secrets(tmp_path, "kubernetes")["infra/kubernetes/services.env"]
    for lost in ("services", "airflow", "broker", "gateway"):
        (tmp_path / f"infra/kubernetes/{lost}.env").unlink()
        values = make_secrets(tmp_path, "kubernetes")
        assert values["infra/kubernetes/services.env"] == before
        for name, (file, variable) in addresses.items():
            address = values[f"infra/kubernetes/{file}.env"][variable]
            assert urlsplit(address).password == before[name]


def test_git_never_sees_the_secrets() -> None:
    files = ["infra/.env", "infra/kubernetes/airflow.env", "infra/kubernetes/worker.env"]
    command = ["git", "check-ignore", *files]

    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert process.stdout.split() == files


def test_compose_publishes_the_ports_of_the_handbooks_table_and_no_other(
    compose: dict[str, Any],
) -> None:
    table = SECURITY.read_text()
    documented: dict[str, list[str]] = {}
    for service, cell in re.findall(r"^\| `([\w-]+)` \| ([^|]*) \|", table, re.MULTILINE):
        documented[service] = re.findall(r"`([\d.]+:\d+)`", cell)
    published: dict[str, list[str]] = {}
    for name, service in compose["services"].items():
        assert "network_mode" not in service
        ports = service.get("ports", [])
        published[name] = [re.sub(r"\$\{\w+:-([^}]+)\}:\d+", r"\1", port) for port in ports]
    opened = {name: addresses for name, addresses in published.items() if addresses}
    assert opened == {name: addresses for name, addresses in documented.items() if addresses}
    assert opened == {"api-server": ["127.0.0.1:8080"], "gateway": ["127.0.0.1:8100"]}


def test_the_gateway_has_no_secret_but_those_of_its_own(compose: dict[str, Any]) -> None:
    names = set(re.findall(r"\$\{(\w+)", yaml.safe_dump(compose["services"]["gateway"])))
    assert {name for name in names if not name.startswith("GATEWAY_")} == set()


def test_workers_serve_every_queue_that_params_yaml_sends_stages_to(
    compose: dict[str, Any],
) -> None:
    airflow = yaml.safe_load((ROOT / "params.yaml").read_text())["airflow"]

    queues: list[str] = []
    for service in compose["services"].values():
        command = service.get("command", [])
        if "--queues" in command:
            queues.append(command[command.index("--queues") + 1])

    assert queues == [f"${{WORKER_QUEUES:-{airflow['queue']}}}", airflow["gpu_queue"]]


def test_volumes_images_and_programs_that_the_file_names_exist(compose: dict[str, Any]) -> None:
    volumes: set[str] = set()
    images: set[str] = set()
    programs: set[str] = set()
    for service in compose["services"].values():
        sources = [volume.split(":")[0] for volume in service.get("volumes", [])]
        files = [source for source in sources if source.startswith(".")]
        assert all((COMPOSE.parent / file).is_file() for file in files)
        volumes |= {*sources} - {*files}
        if "/" not in service["image"]:
            images.add(service["image"])
        program = service.get("command", [""])[0]
        if program.startswith("infra/"):
            programs.add(program)

    assert volumes == set(compose["volumes"])
    recipes = [file.name.split(".")[0] for file in (ROOT / "infra").glob("*.Containerfile")]
    assert images == {f"assistant-{recipe}" for recipe in recipes}
    assert programs
    assert all(os.access(ROOT / program, os.X_OK) for program in programs)


def test_compose_and_kubernetes_run_the_weaviate_that_is_tested() -> None:
    version = (ROOT / "infra/weaviate/version").read_text().strip()

    for file in ("infra/compose.yaml", "infra/kubernetes/weaviate.yaml"):
        assert f"semitechnologies/weaviate:{version}\n" in (ROOT / file).read_text()


def test_airflow_has_every_setting_that_these_files_give_it() -> None:
    files = [COMPOSE, ROOT / "infra/airflow.Containerfile"]
    files += (ROOT / "infra/kubernetes").glob("*.yaml")
    names: set[str] = set()
    for file in files:
        names |= set(re.findall(r"AIRFLOW__[A-Z_]+?__[A-Z_]+", file.read_text()))
    python = str(ROOT / ".venv-airflow/bin/python")

    process = subprocess.run(
        [python, "-c", UNKNOWN_SETTINGS, *sorted(names)], capture_output=True, text=True
    )

    assert len(names) > 10
    assert "UNKNOWN []" in process.stdout, process.stdout + process.stderr
