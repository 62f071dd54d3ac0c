"""Process 1 of our containers reaps: what a killed task leaves must not stay a zombie."""

from pathlib import Path
from typing import Any

import yaml

INFRA = Path(__file__).parents[2] / "infra"
WITH_TINI = {"assistant-airflow", "assistant-worker"}  # the second is made from the first


def test_the_images_of_airflow_and_of_workers_begin_with_an_init_that_they_install() -> None:
    text = (INFRA / "airflow.Containerfile").read_text()
    assert 'ENTRYPOINT ["/usr/bin/tini", "--", "/srv/assistant/infra/containers/entry"]' in text
    assert "tini" in text.partition("apt-get install")[2].partition("&&")[0].split()
    assert "ENTRYPOINT" not in (INFRA / "worker.Containerfile").read_text()


def test_every_service_of_compose_with_an_image_of_ours_has_an_init() -> None:
    services: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    ours = {name: body for name, body in services.items() if "/" not in body["image"]}
    assert ours
    for name, body in ours.items():
        assert body["image"] in WITH_TINI or body.get("init") is True, name
        assert "entrypoint" not in body, name


def test_every_pod_with_an_image_of_ours_has_an_init() -> None:
    images: set[str] = set()
    for path in sorted((INFRA / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            pod = document.get("spec", {}).get("template", {}).get("spec")
            for container in pod["containers"] if pod else []:
                if "/" not in container["image"]:
                    images.add(container["image"])
                    shared = pod.get("shareProcessNamespace") is True
                    assert container["image"] in WITH_TINI or shared, path
                    assert "command" not in container, path
    assert "assistant-worker" in images


def test_triton_runs_as_the_user_who_reads_its_traffic() -> None:
    compose = yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]
    assert compose["triton"]["user"] == "50000:0"
    assert "useradd --uid 50000 --gid 0" in (INFRA / "airflow.Containerfile").read_text()
    users: set[int] = set()
    for name in ("triton", "workers"):
        for document in yaml.safe_load_all((INFRA / f"kubernetes/{name}.yaml").read_text()):
            if document["kind"] == "Service":
                continue
            pod = document["spec"]["template"]["spec"]
            for container in pod["containers"]:
                context = container.get("securityContext") or pod["securityContext"]
                users.add(context["runAsUser"])
    assert users == {50000}
