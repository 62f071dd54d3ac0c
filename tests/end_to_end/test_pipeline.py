"""The real pipeline on a small set: real DVC, Great Expectations, encoder, Weaviate, DeepSpeed, in a clone of its own.

The module's workspace runs once from nothing; the tests then look at it, change it, kill it. In file order, as a user would go on.
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

import pytest
import yaml

from pipelines import faq, files, golden, graph

ROOT = Path(__file__).parents[2]
FIRST = ".state/first-digests.json"  # of the workspace's run from nothing
TOPICS = ("gate.override", "running.resume_interrupted", "setup.first_command", "weaviate_server.external", "refusal.out_of_scope")
SMALL = {
    "ingest.sources": [
        {"kind": "files", "name": "handbook", "path": "data/raw/handbook", "globs": ["gate.md", "running.md", "setup.md", "weaviate-server.md"]},
        {"kind": "python_packages", "name": "packages", "packages": ["click", "filelock", "httpx", "jinja2", "numpy", "requests"]},
    ],
    "validate.min_documents": 5,
    "base.made": {"vocabulary_size": 1200, "hidden_size": 64, "num_layers": 2, "num_heads": 2, "num_tokens": 60000, "sequence_length": 64, "batch_size": 8, "learning_rate": 0.005},
    "finetune.method": "lora",
    "finetune.num_epochs": 10.0,
    "finetune.checkpoint_steps": 40,
    "finetune.learning_rate": 0.008,
    "evaluate.num_resamples": 300,
    "gate.floors": {"exact_match": 0.1},
    "gate.min_gain_over_base": 0.05,
    "gate.min_slice_score": 0.0,
    "gate.min_questions": 20,
    "proof.num_questions": 20,
    "proof.min_same_answers": 0.8,
    "proof.min_same_citations": 0.8,
}


def dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(), timeout=900)


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEAVIATE_", "PYTHON", "DVC_", "GIT_"))}
    return {**kept, "PATH": path, "HF_HUB_OFFLINE": "1"}


def make_workspace(folder: Path) -> Path:
    """A clone of the tracked files with a small configuration; server binary and compiled operator are borrowed, data is its own."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in tracked:
        if (ROOT / name).is_file() and name not in ("dvc.lock", "data/index.json") and not (name.startswith("data/reports/") and name.endswith(".json")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".state/weaviate").mkdir(parents=True)
    (folder / ".state/weaviate/bin").symlink_to(ROOT / ".state/weaviate/bin")
    (folder / ".state/torch_extensions").symlink_to(ROOT / ".state/torch_extensions")
    (folder / "models/champion.json").write_text('{"champion": null}')
    keep_topics(folder)
    change(folder, SMALL)
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def keep_topics(folder: Path) -> None:
    """FAQ and golden set of `TOPICS` alone."""
    topics = [topic.model_dump() | {"questions": topic.questions[:40]} for topic in faq.load(folder / "data/faq") if topic.topic in TOPICS]
    questions = [question.model_dump() for question in golden.load(folder / "data/golden") if question.topic in TOPICS]
    for old in (*folder.glob("data/faq/*.yaml"), *folder.glob("data/golden/*.jsonl")):
        old.unlink()
    (folder / "data/faq/few.yaml").write_text(yaml.safe_dump(topics))
    (folder / "data/golden/few.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))


def change(folder: Path, values: dict[str, object]) -> None:
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for name, value in values.items():
        section, key = name.split(".")
        params[section][key] = value
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def ran(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", done.stdout)


def digests(folder: Path) -> dict[str, str]:
    """Output -> digest, for every output that another stage reads."""
    lock = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    read = {dep for stage in graph.read(folder / "dvc.yaml").values() for dep in stage.deps}
    return {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"] if out["path"] in read}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_workspace(tmp_path_factory.mktemp("pipeline"))
    done = dvc(folder, "repro")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert ran(done) == list(graph.read(folder / "dvc.yaml")), done.stdout
    (folder / FIRST).write_text(json.dumps(digests(folder)))
    return folder


def test_a_run_from_nothing_ends_with_a_release_that_binds_everything(workspace: Path) -> None:
    release = json.loads((workspace / "models/triton/release.json").read_text())
    scores = json.loads((workspace / "data/reports/scores.json").read_text())

    assert release["release_id"].startswith("r-")
    assert release["adapter"] == scores["candidate"]
    assert release["collection"] == json.loads((workspace / "data/index.json").read_text())["collection"]
    assert scores["systems"]["candidate"]["metrics"]["exact_match"]["low"] > scores["systems"]["base"]["metrics"]["exact_match"]["high"]


def test_a_second_run_runs_no_stage(workspace: Path) -> None:
    done = dvc(workspace, "repro")

    assert done.returncode == 0, done.stderr
    assert ran(done) == []

    again = subprocess.run([sys.executable, "-m", "pipelines", "run"], cwd=workspace, capture_output=True, text=True, env=environment())

    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("nothing changed: every stage's result is up to date")
    assert "0 s in all" in again.stdout


def test_the_summary_shows_scores_verdict_and_release(workspace: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines", "summary"], cwd=workspace, capture_output=True, text=True, env=environment())

    assert done.returncode == 0, done.stderr
    for wanted in ("documents   10", "exact_match", "accepted: all", "release     r-", "seconds by stage"):
        assert wanted in done.stdout


def test_dvc_plots_draws_the_curves_and_slices_without_a_warning(workspace: Path) -> None:
    done = dvc(workspace, "plots", "show")

    page = (workspace / "dvc_plots/index.html").read_text()
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in page for name in ("slices.csv", "eval_loss.tsv", "grad_norm.tsv"))


def test_one_changed_value_reruns_the_stages_that_read_it_alone(workspace: Path) -> None:
    change(workspace, {"gate.max_slice_drop": 0.25})

    done = dvc(workspace, "repro")

    assert done.returncode == 0, done.stderr
    assert ran(done) == ["gate"]  # its verdict is the same, so export does not run

    subprocess.run(["git", "checkout", "-q", "params.yaml"], cwd=workspace, check=True)  # a release records whether the code differs from the commit
    assert dvc(workspace, "repro").returncode == 0


def test_one_changed_module_reruns_the_stages_that_import_it_alone(workspace: Path) -> None:
    module = workspace / "pipelines/pages.py"
    module.write_text(module.read_text() + "\n# a comment\n")

    assert set(re.findall(r"^(\w+):$", dvc(workspace, "status").stdout, re.MULTILINE)) == {"evaluate"}

    module.write_text((ROOT / "pipelines/pages.py").read_text())


def test_the_index_finds_the_page_that_answers(workspace: Path) -> None:
    command = [sys.executable, "-m", "pipelines", "search", "How can a person let a candidate break a rule of the gate?", "--limit", "2"]

    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, env=environment())

    assert done.returncode == 0, done.stderr
    assert "handbook/gate.md" in done.stdout


def wait_for_handler(pid: int) -> None:
    """Until Python catches SIGINT: before that, on a busy machine for a second, a Ctrl-C ends any program without a word."""
    deadline, status = time.monotonic() + 60, Path(f"/proc/{pid}/status")
    while status.exists() and not int(re.findall(r"SigCgt:\s*(\w+)", status.read_text())[0], 16) >> (signal.SIGINT - 1) & 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("stage", ["ingest", "redact", "validate", "chunk", "embed", "survey", "index", "base", "examples", "evaluate", "gate", "export"])
def test_a_stage_stopped_by_ctrl_c_or_killed_leaves_the_old_or_nothing_and_the_same_command_finishes(stage: str, workspace: Path) -> None:
    command = [sys.executable, "-m", "pipelines", stage]
    outs = [workspace / out for out in graph.read(workspace / "dvc.yaml")[stage].outs if not out.endswith(("validation_docs", "timings.json", "embedding.json", "ingestion.json"))]
    before = [files.digest(out) for out in outs]
    noted = workspace / f".state/seconds/{stage}.json"  # written when a stage's work is done; after that its process only ends
    seconds, done = json.loads(noted.read_text())["seconds"], noted.stat().st_mtime_ns
    for number, share in ((signal.SIGINT, 0.3), (signal.SIGKILL, 0.8)):
        started = subprocess.Popen(command, cwd=workspace, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        wait_for_handler(started.pid)
        time.sleep(0.3 + share * seconds)  # in its imports or its work, or in the writing of its results
        os.killpg(started.pid, number)  # as a terminal does
        _, said = started.communicate(timeout=60)

        assert [files.digest(out) for out in outs] == before  # old, whole
        if number == signal.SIGINT and noted.stat().st_mtime_ns == done:
            assert started.returncode in (130, -signal.SIGINT), said  # CPython dies of the signal where `exec` of a text was interrupted; a shell shows 130 for both
            assert "Traceback" not in said
            assert said.rstrip().endswith("interrupted: the same command continues")
    again = subprocess.run(command, cwd=workspace, env=environment(), capture_output=True, text=True)

    assert again.returncode == 0, again.stderr
    assert [files.digest(out) for out in outs] == before
    assert [left for out in outs for left in out.parent.glob(f".{out.name}.*")] == []
    assert dvc(workspace, "checkout", "-q", "--force").returncode == 0


def test_push_and_pull_by_a_folder_remote_bring_everything_back(workspace: Path, tmp_path: Path) -> None:
    for arguments in (["remote", "add", "-d", "store", str(tmp_path / "store")], ["push", "-q"]):
        assert dvc(workspace, *arguments).returncode == 0
    outs = [workspace / "models/adapter", workspace / "models/triton"]
    before = [files.digest(out) for out in outs]
    for path in (*outs, workspace / ".dvc/cache"):
        shutil.rmtree(path)

    pulled = dvc(workspace, "pull", "-q", "--force")

    assert pulled.returncode == 0, pulled.stderr
    assert [files.digest(out) for out in outs] == before


def test_a_release_becomes_the_champion_that_the_next_candidate_is_held_against(workspace: Path) -> None:
    command = [sys.executable, "-m", "pipelines", "release", "--who", "ada", "--why", "first"]
    released = subprocess.run(command, cwd=workspace, capture_output=True, text=True, env=environment())
    assert released.returncode == 0, released.stderr

    done = dvc(workspace, "repro")

    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    scores = json.loads((workspace / "data/reports/scores.json").read_text())
    names = [rule["name"] for rule in json.loads((workspace / "data/reports/verdict.json").read_text())["rules"]]
    assert scores["systems"]["champion"]["metrics"] == scores["systems"]["candidate"]["metrics"]
    assert "not worse than the champion in exact_match" in names


def test_a_refused_candidate_is_not_exported_and_the_reason_is_said(workspace: Path) -> None:
    change(workspace, {"gate.floors": {"exact_match": 1.0}})

    done = dvc(workspace, "repro")

    assert done.returncode != 0
    assert ran(done)[-1] == "export"
    assert "refused: the gate did not pass" in done.stdout + done.stderr
    assert "floor exact_match" in done.stdout + done.stderr
    change(workspace, {"gate.floors": {"exact_match": 0.1}})
    assert dvc(workspace, "repro").returncode == 0


def test_documents_that_fail_validation_stop_the_run_before_chunk(workspace: Path) -> None:
    change(workspace, {"validate.max_characters": 2000})

    done = dvc(workspace, "repro")

    assert done.returncode != 0
    assert ran(done)[-1] in ("chunk", "base")
    assert "length in characters" in done.stdout + done.stderr
    change(workspace, {"validate.max_characters": 400000})


def test_fine_tuning_killed_in_the_middle_continues_from_its_checkpoint(workspace: Path) -> None:
    change(workspace, {"finetune.seed": 11})
    dvc(workspace, "repro", "examples", "base")
    stage = subprocess.Popen([sys.executable, "-m", "pipelines", "finetune"], cwd=workspace, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not list((workspace / ".state/checkpoints").glob("*/checkpoint-*/finished")):
        assert stage.poll() is None, "the stage ended before its first checkpoint"
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.2)
    os.kill(stage.pid, signal.SIGKILL)
    stage.wait()

    done = dvc(workspace, "repro", "finetune")

    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    assert "continuing from checkpoint-" in done.stdout + done.stderr
    assert not list((workspace / ".state/checkpoints").glob("*/checkpoint-*"))


def test_two_runs_from_nothing_give_the_same_digests(workspace: Path, tmp_path: Path) -> None:
    other = make_workspace(tmp_path / "again")
    done = dvc(other, "repro", "gate")
    assert done.returncode == 0, done.stderr
    first = json.loads((workspace / FIRST).read_text())
    assert len(first) > 10
    assert digests(other) == first
