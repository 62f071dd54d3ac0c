"""The alert rules, by Prometheus's own tool."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "infra/prometheus"
PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)"
)


def promtool(*arguments: str) -> None:
    process = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


def test_rules_and_settings_are_valid() -> None:
    promtool("check", "rules", "alerts.yaml")
    promtool("check", "config", "--syntax-only", "prometheus.yaml")


def test_each_alarm_rings_when_it_should_and_not_before() -> None:
    promtool("test", "rules", "alerts_test.yaml")


def test_every_alarm_is_tried_and_says_what_to_do() -> None:
    (group,) = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    ringing: set[str] = set()
    silent: set[str] = set()
    for test in tests:
        for case in test["alert_rule_test"]:
            (ringing if case.get("exp_alerts") else silent).add(case["alertname"])
    names = {rule["alert"] for rule in group["rules"]}
    assert ringing == silent == names
    assert all({"summary", "remedy"} == set(rule["annotations"]) for rule in group["rules"])
