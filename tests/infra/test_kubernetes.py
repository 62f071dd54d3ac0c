"""infra/kubernetes as kubectl renders it: Kubernetes' own schemas, and the chart's values."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SECRET_WORDS = ("PASSWORD", "SECRET", "CONN", "BROKER", "FERNET", "API_KEY")
Object = dict[str, Any]

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None,
    reason="no kubectl on this machine: install Kubernetes' command line",
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """Every object that kubectl renders, with fresh secrets."""
    folder = tmp_path_factory.mktemp("kubernetes")
    without_secrets = shutil.ignore_patterns("*.env")
    shutil.copytree(ROOT / "infra/kubernetes", folder / "kubernetes", ignore=without_secrets)
    shutil.copytree(ROOT / "infra/containers", folder / "containers")
    make_secrets = [sys.executable, str(folder / "containers/secrets"), "kubernetes"]
    subprocess.run(make_secrets, check=True, capture_output=True)
    render = ["kubectl", "kustomize", str(folder / "kubernetes")]
    process = subprocess.run(render, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return list(yaml.safe_load_all(process.stdout))


def of_kind(objects: list[Object], *kinds: str) -> dict[str, Object]:
    """Name -> object."""
    return {item["metadata"]["name"]: item for item in objects if item["kind"] in kinds}


def templates(objects: list[Object]) -> dict[str, Object]:
    """Name of a StatefulSet or Deployment -> the template of its pods."""
    owners = of_kind(objects, "StatefulSet", "Deployment")
    return {name: owner["spec"]["template"] for name, owner in owners.items()}


def pods(objects: list[Object]) -> dict[str, Object]:
    return {name: template["spec"] for name, template in templates(objects).items()}


def values_of(tree: Any, key: str) -> list[Any]:
    """Every value below `tree` that stands under this key."""
    values: list[Any] = []
    if isinstance(tree, dict):
        for name, child in tree.items():
            values += [child] if name == key else values_of(child, key)
    elif isinstance(tree, list):
        for child in tree:
            values += values_of(child, key)
    return values


def names_of(references: list[Any], key: str = "name") -> set[str]:
    return {reference[key] for reference in references}


def test_every_object_obeys_kubernetes_schema(objects: list[Object]) -> None:
    import kubernetes_validate

    for item in objects:
        kubernetes_validate.validate(item, "1.32", strict=True)
    wrong = {**of_kind(objects, "Deployment")["triton"], "spec": {"replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):  # the check can fail
        kubernetes_validate.validate(wrong, "1.32", strict=True)


def test_secrets_and_volumes_that_pods_name_exist(objects: list[Object]) -> None:
    secrets = of_kind(objects, "Secret")
    references = values_of(objects, "secretKeyRef")
    assert references
    for reference in references:
        assert reference["key"] in secrets[reference["name"]]["data"]
    assert names_of(values_of(objects, "secretRef")) <= secrets.keys()
    config_maps = names_of(values_of(objects, "configMapRef"))
    assert config_maps <= of_kind(objects, "ConfigMap").keys()
    claims = names_of(values_of(objects, "persistentVolumeClaim"), "claimName")
    assert claims == of_kind(objects, "PersistentVolumeClaim").keys()
    for pod in pods(objects).values():
        volumes = names_of(pod.get("volumes", [])) | {"data"}
        for container in pod["containers"]:
            assert names_of(container.get("volumeMounts", [])) <= volumes


def test_every_service_selects_the_pods_of_its_name(objects: list[Object]) -> None:
    selectors: dict[str, Any] = {}
    for name, service in of_kind(objects, "Service").items():
        selectors[name] = service["spec"]["selector"]
    labels: dict[str, Any] = {}
    for name, template in templates(objects).items():
        labels[name] = template["metadata"]["labels"]

    assert selectors == labels


def test_no_secret_stands_in_a_file(objects: list[Object]) -> None:
    entries: list[Any] = []
    for pod in pods(objects).values():
        for container in pod["containers"]:
            entries += container.get("env", [])

    assert entries
    for entry in entries:
        is_secret = any(word in entry["name"] for word in SECRET_WORDS)
        assert not is_secret or "valueFrom" in entry, entry


def test_workers_serve_every_queue_that_params_yaml_sends_stages_to(
    objects: list[Object],
) -> None:
    airflow = yaml.safe_load((ROOT / "params.yaml").read_text())["airflow"]

    queues: dict[str, str] = {}
    for name, pod in pods(objects).items():
        if "worker" in name:
            words = pod["containers"][0]["args"]
            queues[name] = words[words.index("--queues") + 1]

    assert queues == {"worker": airflow["queue"], "gpu-worker": airflow["gpu_queue"]}


def test_the_charts_values_name_the_rendered_secrets_with_the_keys_that_the_chart_reads(
    objects: list[Object],
) -> None:
    values = yaml.safe_load((ROOT / "infra/kubernetes/airflow-values.yaml").read_text())
    secrets = of_kind(objects, "Secret")

    assert "connection" in secrets[values["data"]["metadataSecretName"]]["data"]
    assert "fernet-key" in secrets[values["fernetKeySecretName"]]["data"]
    assert "jwt-secret" in secrets[values["jwtSecretName"]]["data"]
    assert "api-secret-key" in secrets[values["apiSecretKeySecretName"]]["data"]
    assert list(secrets[values["data"]["brokerUrlSecretName"]]["data"]) == ["connection"]
    volumes = values["apiServer"]["extraVolumes"]
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in volumes}
    assert claims <= of_kind(objects, "PersistentVolumeClaim").keys()
    assert values["workers"]["celery"]["replicas"] == 0
    assert values["postgresql"]["enabled"] is False
    assert values["redis"]["enabled"] is False
    assert f"apache-airflow=={values['airflowVersion']}" in (ROOT / "pyproject.toml").read_text()
