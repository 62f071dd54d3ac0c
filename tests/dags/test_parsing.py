"""The DAG files as Airflow's own processor sees them, in a fresh interpreter of Airflow's own."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import graph
from pipelines.config.finetune import FinetuneConfig

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-airflow/bin/python"
LIST_IMPORTS = """
import json, sys
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
modules = set(sys.modules)
import dags.train, dags.refresh, dags.monitor
new_modules = sorted({name.split(".")[0] for name in set(sys.modules) - modules})
"""
DESCRIBE_DAGS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

def describe(task):
    return {
        "after": sorted(task.downstream_task_ids),
        "group": task.task_group.group_id,
        "queue": task.queue,
        "retries": task.retries,
    }

bag = DagBag(sys.argv[1])
tasks = {name: {task.task_id: describe(task) for task in dag.tasks}
         for name, dag in bag.dags.items()}
form = {}
if "train" in bag.dags:
    for key in bag.dags["train"].params:
        param = bag.dags["train"].params.get_param(key)
        form[key] = param.schema | {"value": param.value, "help": param.description}
errors = {path.split("/")[-1]: error for path, error in bag.import_errors.items()}
"""
PRINT_DAGS = """
print("RESULT" + json.dumps({"tasks": tasks, "form": form, "errors": errors}))
"""
PRINT_IMPORTS = """
print("RESULT" + json.dumps({"new_modules": new_modules}))
"""
HEAVY = {
    *("torch", "pandas", "numpy", "pyarrow", "weaviate", "dvc", "transformers"),
    *("great_expectations", "evidently"),
}


def run_script(root: Path, home: Path, script: str) -> dict[str, Any]:
    """What a script in Airflow's environment prints after RESULT, for the clone at `root`."""
    environment = {
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": str(root),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACKS": "False",
    }
    for name, value in os.environ.items():
        if not name.startswith(("AIRFLOW", "PYTHON")):
            environment[name] = value
    process = subprocess.run(
        [str(PYTHON), "-c", script, str(root / "dags")],
        cwd=root,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    result: dict[str, Any] = json.loads(process.stdout.split("RESULT", 1)[1])
    return result


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_script(ROOT, tmp_path_factory.mktemp("home"), DESCRIBE_DAGS + PRINT_DAGS)


def test_the_dags_import_without_errors(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert sorted(bag["tasks"]) == ["monitor", "refresh", "train"]


def test_train_has_the_stages_and_edges_of_dvc_yaml(bag: dict[str, Any]) -> None:
    stages = graph.read(ROOT / "dvc.yaml")
    train = bag["tasks"]["train"]

    assert stages.keys() <= train.keys()
    edges: set[tuple[str, str]] = set()
    for name in stages:
        edges |= {(name, after) for after in train[name]["after"] if after in stages}
    assert edges == graph.edges(stages)
    for name, stage in stages.items():
        assert train[name]["group"] == stage.phase


def test_remote_sources_are_fetched_before_anything_is_ingested(bag: dict[str, Any]) -> None:
    for dag in ("train", "refresh"):
        tasks = bag["tasks"][dag]
        assert tasks["fetch"]["after"] == ["ingest"]
        assert "fetch" in tasks["checkout"]["after"]


def test_approval_and_release_follow_the_gate(bag: dict[str, Any]) -> None:
    train = bag["tasks"]["train"]

    assert "export" in train["gate"]["after"]
    assert train["brief"]["after"] == ["approve"]
    assert train["approve"]["after"] == ["release"]
    assert "brief" in train["export"]["after"]


def test_refresh_touches_no_model(bag: dict[str, Any]) -> None:
    refresh = bag["tasks"]["refresh"]

    assert set(graph.leading_to(graph.read(ROOT / "dvc.yaml"), "index")) <= refresh.keys()
    assert not {"base", "finetune", "export", "release"} & refresh.keys()


def test_parsing_imports_nothing_heavy(tmp_path: Path) -> None:
    result = run_script(ROOT, tmp_path / "home", LIST_IMPORTS + PRINT_IMPORTS)
    assert "pipelines" in result["new_modules"]
    assert not HEAVY & set(result["new_modules"])


def test_the_trigger_form_shows_range_help_and_todays_value(bag: dict[str, Any]) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    summary = (FinetuneConfig.__doc__ or "").splitlines()[0].rstrip(".")
    form = bag["form"]

    assert form["finetune.learning_rate"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "value": values["finetune"]["learning_rate"],
        "title": "finetune.learning_rate",
        "section": f"finetune: {summary}",
        "help": "peak; linear decay after the warm-up",
    }
    assert form["finetune.zero_stage"]["maximum"] == 3
    assert form["release.approval"]["enum"] == ["human", "auto"]
    assert form["encoder.revision"]["type"] == ["null", "string"]
    assert not [key for key in form if key.startswith("airflow.")]


@pytest.mark.parametrize(
    ("file", "text", "replacement", "message"),
    [
        (
            "params.yaml",
            "zero_stage: 2",
            "zero_stage: 7",
            "finetune.zero_stage: Input should be less than or equal to 3 (it is 7)",
        ),
        (
            "params.yaml",
            "refresh_schedule:",
            "refresh_shedule:",
            "airflow.refresh_shedule: no such key. Did you mean `refresh_schedule`?",
        ),
        ("params.yaml", "zero_stage: 2", "zero_stage: [", "is not valid YAML"),
        ("dvc.yaml", "    cmd: python -m pipelines chunk\n", "", "stage chunk has no `cmd`"),
        ("dvc.yaml", "stages:", "stages: [", "is not valid YAML"),
    ],
)
def test_a_broken_file_is_one_readable_import_error_of_each_dag_that_reads_it(
    file: str, text: str, replacement: str, message: str, tmp_path: Path
) -> None:
    for name in ("dags", "pipelines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    broken = tmp_path / file
    broken.write_text(broken.read_text().replace(text, replacement))

    errors = run_script(tmp_path, tmp_path / "home", DESCRIBE_DAGS + PRINT_DAGS)["errors"]

    readers = ["refresh.py", "train.py"]
    if file == "params.yaml":
        readers.insert(0, "monitor.py")
    assert sorted(errors) == readers
    for error in errors.values():
        assert message in error
        assert f"{file}:" in error
        assert "Traceback" not in error
        assert len(error.splitlines()) <= 2
