"""Who may reach whom in Kubernetes, by the policies, against who does by the manifests."""

import base64
import copy
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import yaml

from tests.infra.test_kubernetes import (
    Object,
    objects,  # noqa: F401 (a fixture)
    of_kind,
    pods,
    pytestmark,  # noqa: F401 (kubectl renders the objects)
    templates,
)

ROOT = Path(__file__).parents[2]
SECURITY = ROOT / "data/raw/handbook/security.md"
EVERYBODY = "everybody"  # inside the cluster and outside
CHART = "airflow"  # name of the chart's release, and of all of its pods in the handbook
CHART_PODS = ("api-server", "scheduler", "dag-processor", "triggerer", "run-airflow-migrations")
EXECUTION_API = f"http://{CHART}-api-server:8080/execution/"  # the chart's own setting
TRIGGERER_LOGS = 8794  # the chart's ports.triggererLogs
OPEN_SERVICE = "gateway"

Labels = dict[str, str]


class Connection(NamedTuple):
    source: str
    target: str
    port: int


def labels_of(objects: list[Object]) -> dict[str, Labels]:  # noqa: F811
    """Pod -> its labels, those of Airflow's chart among them."""
    labels = {name: template["metadata"]["labels"] for name, template in templates(objects).items()}
    for component in CHART_PODS:
        name = f"{CHART}-{component}"
        labels[name] = {"tier": "airflow", "release": CHART, "component": component}
    return labels


def selects(selector: Object, labels: Labels) -> bool:
    """Whether a pod with these labels is selected. Fails at a form that it does not know."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}, selector
    for name, value in selector.get("matchLabels", {}).items():
        if labels.get(name) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", expression
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def sources_of(rule: Object, labels: dict[str, Labels]) -> set[str]:
    """The pods that a rule lets in."""
    if "from" not in rule:
        return {EVERYBODY}
    names: set[str] = set()
    for peer in rule["from"]:
        assert peer.keys() == {"podSelector"}, peer
        names |= {name for name in labels if selects(peer["podSelector"], labels[name])}
    return names


def possible(objects: list[Object]) -> set[Connection]:  # noqa: F811
    """What the policies allow. A pod that no policy selects is open to everybody, on port 0."""
    labels = labels_of(objects)
    policies = of_kind(objects, "NetworkPolicy").values()
    connections: set[Connection] = set()
    for target in labels:
        specs = [policy["spec"] for policy in policies]
        specs = [spec for spec in specs if selects(spec["podSelector"], labels[target])]
        if not specs:
            connections.add(Connection(EVERYBODY, target, 0))
        for spec in specs:
            assert spec["policyTypes"] == ["Ingress"]
            for rule in spec.get("ingress", []):
                for source in sources_of(rule, labels):
                    ports = [entry["port"] for entry in rule["ports"]]
                    connections |= {Connection(source, target, port) for port in ports}
    return connections


def environments(objects: list[Object]) -> dict[str, list[Labels]]:  # noqa: F811
    """Pod -> the environment of each of its containers, with secrets in the clear."""
    named: dict[tuple[str, str], Labels] = {}
    for name, item in of_kind(objects, "ConfigMap").items():
        named["configMap", name] = item["data"]
    for name, item in of_kind(objects, "Secret").items():
        secret: Labels = {}
        for key, value in item["data"].items():
            secret[key] = base64.b64decode(value).decode()
        named["secret", name] = secret
    result: dict[str, list[Labels]] = {}
    for name, pod in pods(objects).items():
        containers = [*pod.get("initContainers", []), *pod["containers"]]
        result[name] = [environment_of(container, named) for container in containers]
    return result


def environment_of(container: Object, named: dict[tuple[str, str], Labels]) -> Labels:
    values: Labels = {}
    for source in container.get("envFrom", []):
        ((kind, reference),) = source.items()
        values |= named[kind.removesuffix("Ref"), reference["name"]]
    for entry in container.get("env", []):
        if "value" in entry:
            values[entry["name"]] = entry["value"]
        else:
            ((kind, reference),) = entry["valueFrom"].items()
            values[entry["name"]] = named[kind.removesuffix("KeyRef"), reference["name"]][
                reference["key"]
            ]
    return values


def targets_of(values: Labels, services: set[str]) -> set[tuple[str, int]]:
    """What a container connects to: the addresses in its environment.

    NAME_GRPC_PORT and NAME_METRICS_PORT are further ports of NAME_URL.
    """
    targets: set[tuple[str, int]] = set()
    for name, value in values.items():
        address = urlsplit(value)
        if address.hostname not in services:
            continue
        assert address.port, f"{name} names no port"
        ports = [str(address.port)]
        for kind in ("GRPC", "METRICS"):
            port = values.get(name.removesuffix("URL") + f"{kind}_PORT")
            ports += [port] if port else []
        targets |= {(address.hostname, int(port)) for port in ports}
    return targets


def needed(objects: list[Object]) -> set[Connection]:  # noqa: F811
    """The connections that the pods make."""
    api_server = f"{CHART}-api-server"
    services = {*of_kind(objects, "Service"), api_server}
    containers = environments(objects)
    secrets = yaml.safe_load((ROOT / "infra/kubernetes/airflow-values.yaml").read_text())["data"]
    chart = {"EXECUTION_API": EXECUTION_API}
    for secret in secrets.values():
        data = of_kind(objects, "Secret")[secret]["data"]["connection"]
        chart[secret] = base64.b64decode(data).decode()
    containers |= {f"{CHART}-{component}": [chart] for component in CHART_PODS}
    connections = {Connection(api_server, f"{CHART}-triggerer", TRIGGERER_LOGS)}
    for source, environment in containers.items():
        for values in environment:
            for target, port in targets_of(values, services):
                connections.add(Connection(source, target, port))
    # The API server shows the logs of running tasks.
    for name, ports in container_ports(objects).items():
        if "logs" in ports:
            connections.add(Connection(api_server, name, ports["logs"]))
    front = container_ports(objects)[OPEN_SERVICE]["http"]
    return {*connections, Connection(EVERYBODY, OPEN_SERVICE, front)}


def container_ports(objects: list[Object]) -> dict[str, dict[str, int]]:  # noqa: F811
    """Pod -> name of a port -> number."""
    result: dict[str, dict[str, int]] = {}
    for name, pod in pods(objects).items():
        ports = pod["containers"][0]["ports"]
        result[name] = {port["name"]: port["containerPort"] for port in ports}
    return result


def test_the_policies_allow_what_the_pods_do_and_nothing_else(
    objects: list[Object],  # noqa: F811
) -> None:
    assert possible(objects) == needed(objects)


def test_every_port_that_a_pod_opens_is_needed_by_somebody(
    objects: list[Object],  # noqa: F811
) -> None:
    opened: set[tuple[str, int]] = set()
    for name, ports in container_ports(objects).items():
        opened |= {(name, port) for port in ports.values()}
    chart = {(f"{CHART}-api-server", 8080), (f"{CHART}-triggerer", TRIGGERER_LOGS)}
    assert {(target, port) for _, target, port in needed(objects)} == opened | chart


def test_a_forgotten_rule_and_a_wider_one_are_found(
    objects: list[Object],  # noqa: F811
) -> None:
    num_rules = 0
    for name, policy in of_kind(objects, "NetworkPolicy").items():
        others = [item for item in objects if item is not policy]
        assert possible(others) != needed(objects), name
        for number in range(len(policy["spec"].get("ingress", []))):
            num_rules += 1
            for wider in widen(policy, number):
                assert possible([*others, wider]) != needed(objects), wider
    assert num_rules == 8


def widen(policy: Object, number: int) -> list[Object]:
    """The policy with one of its rules for everybody, for one peer less, and with one port more."""
    rule = policy["spec"]["ingress"][number]
    changes: list[Object] = [{"ports": [*rule["ports"], {"port": 22}]}]
    if "from" in rule:
        changes += [{"from": [{"podSelector": {}}]}, {"from": rule["from"][1:]}]
    policies: list[Object] = []
    for change in changes:
        wider = copy.deepcopy(policy)
        wider["spec"]["ingress"][number] |= change
        policies.append(wider)
    return policies


def test_the_handbook_says_who_may_connect_to_what(
    objects: list[Object],  # noqa: F811
) -> None:
    documented: set[Connection] = set()
    rows = re.findall(r"^\| `([\w-]+)` \|[^|]*\| ([^|]*) \|$", SECURITY.read_text(), re.MULTILINE)
    for target, cell in rows:
        people, _, numbers = cell.partition(": ")
        sources = re.findall("`([^`]+)`", people) or [people]
        for port in re.findall(r"\d+", numbers):
            documented |= {Connection(source, target, int(port)) for source in sources}
    connections: set[Connection] = set()
    for connection in possible(objects):
        source = connection.source
        # The pods of the chart are told apart only where not all of them may connect.
        if source.startswith(f"{CHART}-") and connection.port not in (8793, TRIGGERER_LOGS):
            connection = connection._replace(source=CHART)
        connections.add(connection)
    assert documented == connections
