"""infra/kubernetes as kubectl renders it, checked against Kubernetes' own schemas, and the chart's values against what is rendered."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on this machine: install Kubernetes' command line")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every object, with fresh secrets."""
    folder = tmp_path_factory.mktemp("kubernetes")
    shutil.copytree(ROOT / "infra/kubernetes", folder / "kubernetes", ignore=shutil.ignore_patterns("*.env"))
    shutil.copytree(ROOT / "infra/containers", folder / "containers")
    subprocess.run([sys.executable, str(folder / "containers/secrets"), "kubernetes"], check=True, capture_output=True)
    done = subprocess.run(["kubectl", "kustomize", str(folder / "kubernetes")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(rendered: list[dict[str, Any]], *kinds: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in rendered if found["kind"] in kinds}


def pods(rendered: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: found["spec"]["template"]["spec"] for name, found in of_kind(rendered, "StatefulSet", "Deployment").items()}


def within(value: Any, key: str) -> list[Any]:
    """Everything below `value` that stands under this key."""
    if isinstance(value, dict):
        return [found for name, inner in value.items() for found in ([inner] if name == key else within(inner, key))]
    return [found for inner in value for found in within(inner, key)] if isinstance(value, list) else []


def test_every_object_obeys_kubernetes_schema(rendered: list[dict[str, Any]]) -> None:
    import kubernetes_validate

    for found in rendered:
        kubernetes_validate.validate(found, "1.32", strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):  # the check can fail
        kubernetes_validate.validate({**of_kind(rendered, "Deployment")["triton"], "spec": {"replica": 1}}, "1.32", strict=True)


def test_secrets_volumes_and_services_that_pods_name_are_there(rendered: list[dict[str, Any]]) -> None:
    secrets = {(name, key) for name, found in of_kind(rendered, "Secret").items() for key in found["data"]}
    asked = [(reference["name"], reference["key"]) for reference in within(rendered, "secretKeyRef")]
    assert asked
    assert set(asked) <= secrets
    assert {reference["name"] for reference in within(rendered, "secretRef")} <= {name for name, _ in secrets}
    assert {reference["name"] for reference in within(rendered, "configMapRef")} <= of_kind(rendered, "ConfigMap").keys()
    assert {claim["claimName"] for claim in within(rendered, "persistentVolumeClaim")} == of_kind(rendered, "PersistentVolumeClaim").keys()
    labels = {name: found["spec"]["template"]["metadata"]["labels"] for name, found in of_kind(rendered, "StatefulSet", "Deployment").items()}
    assert {name: service["spec"]["selector"] for name, service in of_kind(rendered, "Service").items()} == labels
    for pod in pods(rendered).values():
        volumes = {volume["name"] for volume in pod.get("volumes", [])} | {"data"}
        assert {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])} <= volumes


def test_no_secret_stands_in_a_file(rendered: list[dict[str, Any]]) -> None:
    values = {entry["name"]: entry for pod in pods(rendered).values() for container in pod["containers"] for entry in container.get("env", [])}

    assert [name for name, entry in values.items() if any(word in name for word in ("PASSWORD", "SECRET", "CONN", "BROKER", "FERNET", "API_KEY")) and "valueFrom" not in entry] == []


def test_workers_serve_every_queue_that_params_yaml_sends_stages_to(rendered: list[dict[str, Any]]) -> None:
    airflow = yaml.safe_load((ROOT / "params.yaml").read_text())["airflow"]
    found = {name: pod["containers"][0]["args"] for name, pod in pods(rendered).items() if "worker" in name}

    assert {name: words[words.index("--queues") + 1] for name, words in found.items()} == {"worker": airflow["queue"], "gpu-worker": airflow["gpu_queue"]}


def test_the_charts_values_name_the_rendered_secrets_with_the_keys_that_the_chart_reads(rendered: list[dict[str, Any]]) -> None:
    values = yaml.safe_load((ROOT / "infra/kubernetes/airflow-values.yaml").read_text())
    read = {"connection": values["data"]["metadataSecretName"], "fernet-key": values["fernetKeySecretName"], "jwt-secret": values["jwtSecretName"], "api-secret-key": values["apiSecretKeySecretName"]}
    secrets = of_kind(rendered, "Secret")

    assert all(key in secrets[name]["data"] for key, name in read.items())
    assert list(secrets[values["data"]["brokerUrlSecretName"]]["data"]) == ["connection"]
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in values["apiServer"]["extraVolumes"]} <= of_kind(rendered, "PersistentVolumeClaim").keys()
    assert (values["workers"]["celery"]["replicas"], values["postgresql"]["enabled"], values["redis"]["enabled"]) == (0, False, False)
    assert f"apache-airflow=={values['airflowVersion']}" in (ROOT / "pyproject.toml").read_text()
