"""infra/compose.yaml against the Compose specification's schema, and against what it names in this repository."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "infra/compose.yaml"
SECRET = re.compile("PASSWORD|SECRET|KEY|CONN|BROKER|REPOSITORY")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def environments(compose: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(service, variable, value)"""
    return [(name, key, str(value)) for name, service in compose["services"].items() for key, value in service.get("environment", {}).items()]


def test_the_file_obeys_the_compose_specification() -> None:
    done = subprocess.run([str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_secret_comes_from_the_environment_and_is_made_by_one_command(compose: dict[str, Any], tmp_path: Path) -> None:
    secret = [(service, key, value) for service, key, value in environments(compose) if SECRET.search(key) and key not in ("AUTHENTICATION_APIKEY_ENABLED", "AUTHENTICATION_APIKEY_USERS")]
    assert secret
    assert [entry for entry in secret if "${" not in entry[2]] == []

    made = secrets_of(tmp_path, "compose")["infra/.env"]

    demanded = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    assert demanded == set(made)
    assert [name for name, value in made.items() if not value] == ["PIPELINE_REPOSITORY"]


def secrets_of(folder: Path, kind: str) -> dict[str, dict[str, str]]:
    """The files that infra/containers/secrets makes in a copy of infra/, with their values."""
    program = folder / "infra/containers/secrets"
    program.parent.mkdir(parents=True)
    (folder / "infra/kubernetes").mkdir()
    program.write_text((ROOT / "infra/containers/secrets").read_text())
    done = subprocess.run([sys.executable, str(program), kind], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = subprocess.run([sys.executable, str(program), kind], capture_output=True, text=True)
    assert (again.returncode, "stays as it is" in again.stderr) == (1, True)
    made = list(folder.rglob("*.env"))
    assert {oct(path.stat().st_mode & 0o777) for path in made} == {"0o600"}
    return {str(path.relative_to(folder)): dict(line.split("=", 1) for line in path.read_text().splitlines()) for path in made}


def test_git_never_sees_the_secrets() -> None:
    files = ["infra/.env", "infra/kubernetes/airflow.env", "infra/kubernetes/worker.env"]

    assert subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True).stdout.split() == files


def test_workers_serve_every_queue_that_params_yaml_sends_stages_to(compose: dict[str, Any]) -> None:
    airflow = yaml.safe_load((ROOT / "params.yaml").read_text())["airflow"]
    served = [service["command"][service["command"].index("--queues") + 1] for service in compose["services"].values() if "--queues" in service.get("command", [])]

    assert served == [f"${{WORKER_QUEUES:-{airflow['queue']}}}", airflow["gpu_queue"]]


def test_volumes_images_and_programs_that_the_file_names_are_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])} == set(compose["volumes"])
    own_images = {service["image"] for service in services.values() if "/" not in service["image"]}
    assert own_images == {f"assistant-{path.name.removesuffix('.Containerfile')}" for path in (ROOT / "infra").glob("*.Containerfile")}
    own = [service["command"][0] for service in services.values() if service.get("command", [""])[0].startswith("infra/")]
    assert own
    assert all(os.access(ROOT / program, os.X_OK) for program in own)


def test_compose_and_kubernetes_run_the_weaviate_that_is_tested() -> None:
    wanted = f"weaviate:{(ROOT / 'infra/weaviate/version').read_text().strip()}"

    assert all(f"semitechnologies/{wanted}\n" in (ROOT / file).read_text() for file in ("infra/compose.yaml", "infra/kubernetes/weaviate.yaml"))


def test_airflow_knows_every_setting_that_is_given_to_it() -> None:
    files = [COMPOSE, ROOT / "infra/airflow.Containerfile", *(ROOT / "infra/kubernetes").glob("*.yaml")]
    named = sorted({name for file in files for name in re.findall(r"AIRFLOW__[A-Z_]+?__[A-Z_]+", file.read_text())})
    asked = "import sys; from airflow.configuration import conf; known = conf.configuration_description; parts = [(n, *n.lower().split('__')[1:]) for n in sys.argv[1:]]"
    told = f"{asked}; print([n for n, section, option in parts if option not in known.get(section, {{}}).get('options', {{}})])"

    done = subprocess.run([str(ROOT / ".venv-airflow/bin/python"), "-c", told, *named], capture_output=True, text=True)

    assert len(named) > 10
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stdout + done.stderr
