"""The real pipeline on a small set: DVC, Great Expectations, encoder, Weaviate and DeepSpeed.

It works in a clone of its own. The module's workspace runs once from nothing; the tests then look
at it, change it, kill it, in file order, as a user would go on.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import files, graph
from pipelines.questions import document_questions, faq, golden
from tests.made_model import MADE_MODEL

pytestmark = pytest.mark.sequence

ROOT = Path(__file__).parents[2]
FIRST_DIGESTS = ".state/first-digests.json"  # of the workspace's run from nothing
TOPICS = (
    "gate.override",
    "running.resume_interrupted",
    "setup.first_command",
    "weaviate_server.external",
    "refusal.out_of_scope",
)
HANDBOOK = {
    "kind": "files",
    "name": "handbook",
    "path": "data/raw/handbook",
    "globs": ["gate.md", "running.md", "setup.md", "weaviate-server.md"],
}
PACKAGES = {
    "kind": "python_packages",
    "name": "packages",
    "packages": ["click", "filelock", "httpx", "jinja2", "numpy", "requests"],
}
BASE_MODEL = {
    "vocabulary_size": 1200,
    "hidden_size": 64,
    "num_layers": 2,
    "num_heads": 2,
    "num_tokens": 60000,
    "sequence_length": 64,
    "batch_size": 8,
    "learning_rate": 0.005,
}
SMALL = {
    **MADE_MODEL,
    "ingest.sources": [HANDBOOK, PACKAGES],
    "validate.min_documents": 5,
    "base.made": BASE_MODEL,
    "finetune.method": "lora",
    "finetune.num_epochs": 12.0,
    "finetune.checkpoint_steps": 40,
    "finetune.learning_rate": 0.004,
    "evaluate.num_resamples": 300,
    "gate.floors": {"exact_match": 0.1},
    "gate.min_gain_over_base": 0.05,
    "gate.min_slice_score": 0.0,
    "gate.min_questions": 20,
    "proof.num_questions": 20,
    "proof.min_same_answers": 0.8,
    "proof.min_same_citations": 0.8,
}
FOREIGN_VARIABLES = ("WEAVIATE_", "PYTHON", "DVC_", "GIT_")
# Stages that take seconds; a kill is the same to all of them, so the others are slow tests.
QUICK_STAGES_TO_KILL = ["ingest", "validate", "embed", "index"]
SLOW_STAGES_TO_KILL = [
    "redact",
    "chunk",
    "guard",
    "survey",
    "base",
    "examples",
    "calibrate",
    "evaluate",
    "gate",
    "export",
]
# Their content depends on the clock or on what was reused.
UNSTABLE_OUTPUTS = ("validation_docs", "timings.json", "embedding.json", "ingestion.json")

Call = subprocess.CompletedProcess[str]


def dvc(folder: Path, *words: str) -> Call:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment(), timeout=900
    )


def pipelines(folder: Path, *words: str) -> Call:
    command = [sys.executable, "-m", "pipelines", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment())


def git(folder: Path, *words: str) -> str:
    call = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return call.stdout


def environment() -> dict[str, str]:
    """This process's variables without those that would lead elsewhere."""
    variables = {"HF_HUB_OFFLINE": "1"}
    for name, value in os.environ.items():
        if not name.startswith(FOREIGN_VARIABLES):
            variables[name] = value
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return variables


def make_workspace(folder: Path) -> Path:
    """A clone of the tracked files with a small configuration and data of its own.

    Server binary, compiled operator and OpenVINO graphs are borrowed.
    """
    for name in git(ROOT, "ls-files").splitlines():
        if (ROOT / name).is_file() and not is_result(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".state/weaviate").mkdir(parents=True)
    (folder / ".state/weaviate/bin").symlink_to(ROOT / ".state/weaviate/bin")
    (folder / ".state/torch_extensions").symlink_to(ROOT / ".state/torch_extensions")
    graphs = ROOT / ".state/openvino_graphs"
    graphs.mkdir(exist_ok=True)
    (folder / ".state/openvino_graphs").symlink_to(graphs)
    (folder / "models/champion.json").write_text('{"champion": null}')
    keep_topics(folder)
    change(folder, SMALL)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start")
    return folder


def is_result(name: str) -> bool:
    """Whether a tracked file is the result of a run."""
    is_report = name.startswith("data/reports/") and name.endswith(".json")
    return is_report or name in ("dvc.lock", "data/index.json")


def keep_topics(folder: Path) -> None:
    """Reduce FAQ and golden set to `TOPICS`, and questions about documents to `HANDBOOK`."""
    topics: list[dict[str, Any]] = []
    for topic in faq.load(folder / "data/faq"):
        if topic.topic in TOPICS:
            topics.append(topic.model_dump() | {"questions": topic.questions[:40]})
    lines: list[str] = []
    for question in golden.load(folder / "data/golden"):
        if question.topic in TOPICS:
            lines.append(json.dumps(question.model_dump()) + "\n")
    for path in (*folder.glob("data/faq/*.yaml"), *folder.glob("data/golden/*.jsonl")):
        path.unlink()
    (folder / "data/faq/few.yaml").write_text(yaml.safe_dump(topics))
    (folder / "data/golden/few.jsonl").write_text("".join(lines))
    keep_document_questions(folder)


def keep_document_questions(folder: Path) -> None:
    """Leave the questions about the pages of `HANDBOOK`."""
    pages = {f"handbook/{name}" for name in HANDBOOK["globs"]}
    questions = document_questions.load(folder / "data/qa").questions
    for path in folder.glob("data/qa/*/*.jsonl"):
        path.unlink()
    for split, items in questions.items():
        lines = [document_questions.to_line(item) for item in items if item.page in pages]
        (folder / f"data/qa/{split}/few.jsonl").write_text("".join(lines))


def change(folder: Path, values: dict[str, object]) -> None:
    """Set dotted keys of params.yaml."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for name, value in values.items():
        section, key = name.split(".")
        params[section][key] = value
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def executed_stages(call: Call) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", call.stdout)


def digests(folder: Path) -> dict[str, str]:
    """Output -> digest, for every output that another stage reads."""
    inputs: set[str] = set()
    for stage in graph.read(folder / "dvc.yaml").values():
        inputs |= set(stage.deps)
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    result: dict[str, str] = {}
    for stage in lock["stages"].values():
        for out in stage["outs"]:
            if out["path"] in inputs:
                result[out["path"]] = out["md5"]
    return result


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_workspace(tmp_path_factory.mktemp("pipeline"))
    call = dvc(folder, "repro")
    assert call.returncode == 0, call.stdout[-3000:] + call.stderr[-3000:]
    assert executed_stages(call) == list(graph.read(folder / "dvc.yaml")), call.stdout
    (folder / FIRST_DIGESTS).write_text(json.dumps(digests(folder)))
    return folder


def test_a_run_from_nothing_ends_with_a_release_that_binds_everything(workspace: Path) -> None:
    release = read_json(workspace / "models/triton/release.json")
    scores = read_json(workspace / "data/reports/scores.json")
    receipt = read_json(workspace / "data/index.json")
    candidate = scores["systems"]["candidate"]["metrics"]
    base = scores["systems"]["base"]["metrics"]

    assert release["release_id"].startswith("r-")
    assert release["adapter"] == scores["candidate"]
    assert release["collection"] == receipt["collection"]
    assert candidate["exact_match"]["low"] > base["exact_match"]["high"]


def test_a_second_run_runs_no_stage(workspace: Path) -> None:
    call = dvc(workspace, "repro")

    assert call.returncode == 0, call.stderr
    assert executed_stages(call) == []

    call = pipelines(workspace, "run")

    assert call.returncode == 0, call.stderr
    assert call.stdout.startswith("nothing changed: every stage's result is up to date")
    assert "0 s in all" in call.stdout


def test_the_summary_shows_scores_verdict_and_release(workspace: Path) -> None:
    call = pipelines(workspace, "summary")

    assert call.returncode == 0, call.stderr
    assert "documents   10" in call.stdout
    assert "exact_match" in call.stdout
    assert "accepted: all" in call.stdout
    assert "release     r-" in call.stdout
    assert "seconds by stage" in call.stdout


def test_dvc_plots_draws_the_curves_and_slices_without_a_warning(workspace: Path) -> None:
    call = dvc(workspace, "plots", "show")

    page = (workspace / "dvc_plots/index.html").read_text()
    assert (call.returncode, call.stderr) == (0, "")
    assert "slices.csv" in page
    assert "eval_loss.tsv" in page
    assert "grad_norm.tsv" in page


def test_a_changed_value_reruns_only_the_stages_that_read_it(workspace: Path) -> None:
    change(workspace, {"gate.max_slice_drop": 0.25})

    call = dvc(workspace, "repro")

    assert call.returncode == 0, call.stderr
    assert executed_stages(call) == ["gate"]  # its verdict is the same, so export does not run

    # A release records whether the code differs from the commit.
    git(workspace, "checkout", "-q", "params.yaml")
    assert dvc(workspace, "repro").returncode == 0


def test_a_changed_module_reruns_only_the_stages_that_import_it(workspace: Path) -> None:
    module = workspace / "pipelines/decision/answers_page.py"
    module.write_text(module.read_text() + "\n# a comment\n")

    stale_stages = re.findall(r"^(\w+):$", dvc(workspace, "status").stdout, re.MULTILINE)
    assert set(stale_stages) == {"evaluate"}

    module.write_text((ROOT / "pipelines/decision/answers_page.py").read_text())


def test_the_index_finds_the_page_that_answers(workspace: Path) -> None:
    question = "How can a person let a candidate break a rule of the gate?"

    call = pipelines(workspace, "search", question, "--limit", "2")

    assert call.returncode == 0, call.stderr
    assert "handbook/gate.md" in call.stdout


def wait_for_handler(pid: int) -> None:
    """Until Python catches SIGINT.

    Before that, on a busy machine for a second, a Ctrl-C ends any program without a word.
    """
    deadline = time.monotonic() + 60
    status = Path(f"/proc/{pid}/status")
    while status.exists() and not catches_interrupt(status.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def catches_interrupt(status: str) -> bool:
    """Whether the mask of caught signals in a /proc/<pid>/status has SIGINT."""
    (mask,) = re.findall(r"SigCgt:\s*(\w+)", status)
    return bool(int(mask, 16) >> (signal.SIGINT - 1) & 1)


def stop_stage(folder: Path, stage: str, number: signal.Signals, delay: float) -> tuple[int, str]:
    """Start the stage and signal its process group after `delay` seconds; exit code and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", stage],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for_handler(process.pid)
    time.sleep(delay)  # in its imports or its work, or in the writing of its results
    os.killpg(process.pid, number)  # as a terminal does
    _, message = process.communicate(timeout=60)
    return process.returncode, message


@pytest.mark.parametrize(
    "stage",
    [
        *QUICK_STAGES_TO_KILL,
        *(pytest.param(stage, marks=pytest.mark.slow) for stage in SLOW_STAGES_TO_KILL),
    ],
)
def test_a_stage_that_is_stopped_leaves_the_old_results_and_the_same_command_finishes(
    stage: str, workspace: Path
) -> None:
    outs: list[Path] = []
    for name in graph.read(workspace / "dvc.yaml")[stage].outs:
        if not name.endswith(UNSTABLE_OUTPUTS):
            outs.append(workspace / name)
    before = [files.digest(out) for out in outs]
    # Written when a stage's work is done; after that its process only ends.
    note = workspace / f".state/seconds/{stage}.json"
    seconds = read_json(note)["seconds"]
    time_of_note = note.stat().st_mtime_ns

    code, message = stop_stage(workspace, stage, signal.SIGINT, 0.3 + 0.3 * seconds)

    assert [files.digest(out) for out in outs] == before
    if note.stat().st_mtime_ns == time_of_note:
        # CPython dies of the signal if it interrupts the `exec` of a text; a shell shows 130 for
        # both.
        assert code in (130, -signal.SIGINT), message
        assert "Traceback" not in message
        assert message.rstrip().endswith("interrupted: the same command continues")

    stop_stage(workspace, stage, signal.SIGKILL, 0.3 + 0.8 * seconds)

    assert [files.digest(out) for out in outs] == before

    call = pipelines(workspace, stage)

    assert call.returncode == 0, call.stderr
    assert [files.digest(out) for out in outs] == before
    for out in outs:
        assert list(out.parent.glob(f".{out.name}.*")) == []
    assert dvc(workspace, "checkout", "-q", "--force").returncode == 0


def test_push_and_pull_by_a_folder_remote_bring_everything_back(
    workspace: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    assert dvc(workspace, "remote", "add", "-d", "store", store).returncode == 0
    assert dvc(workspace, "push", "-q").returncode == 0
    outs = [workspace / "models/adapter", workspace / "models/triton"]
    before = [files.digest(out) for out in outs]
    for path in (*outs, workspace / ".dvc/cache"):
        shutil.rmtree(path)

    call = dvc(workspace, "pull", "-q", "--force")

    assert call.returncode == 0, call.stderr
    assert [files.digest(out) for out in outs] == before


@pytest.mark.slow
def test_a_release_becomes_the_champion_with_which_the_next_candidate_is_compared(
    workspace: Path,
) -> None:
    call = pipelines(workspace, "release", "--who", "ada", "--why", "first")
    assert call.returncode == 0, call.stderr

    call = dvc(workspace, "repro")

    assert call.returncode == 0, call.stderr + call.stdout[-2000:]
    systems = read_json(workspace / "data/reports/scores.json")["systems"]
    verdict = read_json(workspace / "data/reports/verdict.json")
    assert systems["champion"]["metrics"] == systems["candidate"]["metrics"]
    rules = [rule["name"] for rule in verdict["rules"]]
    assert "not worse than the champion in exact_match" in rules


def test_a_refused_candidate_is_not_exported_and_the_reason_is_shown(workspace: Path) -> None:
    change(workspace, {"gate.floors": {"exact_match": 1.0}})

    call = dvc(workspace, "repro")

    assert call.returncode != 0
    assert executed_stages(call)[-1] == "export"
    assert "refused: the gate did not pass" in call.stdout + call.stderr
    assert "floor exact_match" in call.stdout + call.stderr
    change(workspace, {"gate.floors": {"exact_match": 0.1}})
    assert dvc(workspace, "repro").returncode == 0


def test_documents_that_fail_validation_stop_the_run_before_chunk(workspace: Path) -> None:
    change(workspace, {"validate.min_median_characters": 1_000_000})

    call = dvc(workspace, "repro")

    assert call.returncode != 0
    assert executed_stages(call)[-1] in ("chunk", "base")
    assert "length in characters" in call.stdout + call.stderr
    change(workspace, {"validate.min_median_characters": 100})


@pytest.mark.slow
def test_fine_tuning_killed_in_the_middle_continues_from_its_checkpoint(workspace: Path) -> None:
    change(workspace, {"finetune.seed": 11})
    dvc(workspace, "repro", "examples", "base")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "finetune"],
        cwd=workspace,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoints = workspace / ".state/checkpoints"
    deadline = time.monotonic() + 180
    while not list(checkpoints.glob("*/checkpoint-*/finished")):
        assert process.poll() is None, "the stage ended before its first checkpoint"
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    call = dvc(workspace, "repro", "finetune")

    assert call.returncode == 0, call.stderr + call.stdout[-2000:]
    assert "continuing from checkpoint-" in call.stdout + call.stderr
    assert not list(checkpoints.glob("*/checkpoint-*"))


@pytest.mark.slow
def test_two_runs_from_nothing_give_the_same_digests(workspace: Path, tmp_path: Path) -> None:
    second_workspace = make_workspace(tmp_path / "again")
    call = dvc(second_workspace, "repro", "gate", "guard")
    assert call.returncode == 0, call.stderr
    first_digests = read_json(workspace / FIRST_DIGESTS)
    assert len(first_digests) > 10
    assert digests(second_workspace) == first_digests
