"""The DAG files as Airflow's own processor sees them, in a fresh interpreter of Airflow's environment."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import graph

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-airflow/bin/python"
PARSE = """
import json, sys, time
began = time.process_time()
import airflow.sdk
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
airflows, began = time.process_time() - began, time.process_time()
import dags.train
seconds = time.process_time() - began
import dags.refresh, dags.monitor
new = sorted({name.split(".")[0] for name in set(sys.modules) - before})
bag = DagBag(sys.argv[1])
tasks = {dag_id: {task.task_id: {"after": sorted(task.downstream_task_ids), "group": task.task_group.group_id, "queue": task.queue, "retries": task.retries} for task in dag.tasks} for dag_id, dag in bag.dags.items()}
form = {key: param.schema | {"value": param.value, "help": param.description} for dag in bag.dags.values() if dag.dag_id == "train" for key in dag.params for param in [dag.params.get_param(key)]}
errors = {path.split("/")[-1]: error for path, error in bag.import_errors.items()}
print("RESULT" + json.dumps({"seconds": seconds, "airflows": airflows, "new": new, "tasks": tasks, "form": form, "errors": errors}))
"""
BAG = PARSE.replace("import dags.train\n", "").replace("import dags.refresh, dags.monitor\n", "")


def parsed(root: Path, home: Path, script: str = PARSE) -> dict[str, Any]:
    settings = {"AIRFLOW_HOME": str(home), "PYTHONPATH": str(root), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACKS": "False"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    done = subprocess.run([str(PYTHON), "-c", script, str(root / "dags")], cwd=root, capture_output=True, text=True, env={**kept, **settings}, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.split("RESULT", 1)[1])
    return found


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return parsed(ROOT, tmp_path_factory.mktemp("home"))


def test_the_dags_import_without_errors(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert sorted(bag["tasks"]) == ["monitor", "refresh", "train"]


def test_train_has_the_stages_and_edges_of_dvc_yaml(bag: dict[str, Any]) -> None:
    stages, train = graph.read(ROOT / "dvc.yaml"), bag["tasks"]["train"]

    assert stages.keys() <= train.keys()
    assert {(one, other) for one in stages for other in train[one]["after"] if other in stages} == graph.edges(stages)
    assert {name: train[name]["group"] for name in stages} == {name: stage.phase for name, stage in stages.items()}


def test_approval_and_release_follow_the_gate(bag: dict[str, Any]) -> None:
    train = bag["tasks"]["train"]

    assert "export" in train["gate"]["after"]
    assert [train[name]["after"] for name in ("brief", "approve")] == [["approve"], ["release"]]
    assert "brief" in train["export"]["after"]


def test_refresh_touches_no_model(bag: dict[str, Any]) -> None:
    assert set(graph.leading_to(graph.read(ROOT / "dvc.yaml"), "index")) <= bag["tasks"]["refresh"].keys()
    assert not {"base", "finetune", "export", "release"} & bag["tasks"]["refresh"].keys()


AIRFLOWS_SECONDS = 2.1  # that Airflow's own import takes where 0.3 s are wanted; a machine on which it takes longer is slower


def test_parsing_takes_less_than_0_3_seconds_beyond_airflow_and_imports_nothing_heavy(bag: dict[str, Any], tmp_path: Path) -> None:
    assert not {"torch", "pandas", "numpy", "pyarrow", "weaviate", "dvc", "transformers", "great_expectations", "evidently"} & set(bag["new"])
    again = parsed(ROOT, tmp_path)
    assert min(one["seconds"] / max(AIRFLOWS_SECONDS, one["airflows"]) for one in (bag, again)) < 0.3 / AIRFLOWS_SECONDS  # seconds of the processor for the largest file with all that it imports


def test_the_trigger_form_shows_range_help_and_todays_value(bag: dict[str, Any]) -> None:
    field, today = bag["form"]["finetune.learning_rate"], yaml.safe_load((ROOT / "params.yaml").read_text())["finetune"]["learning_rate"]

    assert field == {
        "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "value": today, "title": "finetune.learning_rate", "section": "finetune: DeepSpeed fine-tuning",
        "help": "peak; linear decay after the warm-up",
    }  # fmt: skip
    assert bag["form"]["finetune.zero_stage"]["maximum"] == 3
    assert bag["form"]["release.approval"]["enum"] == ["human", "auto"]
    assert bag["form"]["encoder.revision"]["type"] == ["null", "string"]
    assert not [key for key in bag["form"] if key.startswith("airflow.")]


@pytest.mark.parametrize(
    ("file", "old", "new", "wanted"),
    [
        ("params.yaml", "zero_stage: 2", "zero_stage: 7", "finetune.zero_stage: Input should be less than or equal to 3 (it is 7)"),
        ("params.yaml", "refresh_schedule:", "refresh_shedule:", "airflow.refresh_shedule: no such key. Did you mean `refresh_schedule`?"),
        ("params.yaml", "zero_stage: 2", "zero_stage: [", "is not valid YAML"),
        ("dvc.yaml", "    cmd: python -m pipelines chunk\n", "", "stage chunk has no `cmd`"),
        ("dvc.yaml", "stages:", "stages: [", "is not valid YAML"),
    ],
)
def test_a_broken_file_is_one_readable_import_error_of_each_dag_that_reads_it(file: str, old: str, new: str, wanted: str, tmp_path: Path) -> None:
    for name in ("dags", "pipelines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml"):
        text = (ROOT / name).read_text()
        (tmp_path / name).write_text(text.replace(old, new) if name == file else text)

    errors = parsed(tmp_path, tmp_path / "home", BAG)["errors"]

    assert sorted(errors) == (["monitor.py", "refresh.py", "train.py"] if file == "params.yaml" else ["refresh.py", "train.py"])
    for error in errors.values():
        assert wanted in error
        assert f"{file}:" in error
        assert "Traceback" not in error
        assert len(error.splitlines()) <= 2
