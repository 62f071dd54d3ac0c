"""The whole loop on this machine (`make demo`): traffic drifts, Airflow retrains, the better release goes live. Standard library only.

    python3 infra/demo.py            after `make run`, whose results it begins with; about ten minutes on 2 cores

All happens in a clone of the last commit below .state/demo, with servers of its own: your files, index, releases and traffic stay as they
are. Only reviewer and users are played; every decision is made by the same commands and DAGs as ever.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".state/demo"
CLONE = HOME / "clone"
PYTHON = ROOT / ".venv/bin/python"  # by its own path: DeepSpeed would compile its operator again for another one
BORROWED = (".venv", ".venv-airflow", ".venv-triton", ".tools", ".state/weaviate/bin", ".state/torch_extensions", ".state/triton")
SHORTER = {  # line of params.yaml -> what it is in the demo, so that it lasts minutes, not days
    "  approval: human ": "  approval: auto ",
    "  num_questions: 60 ": "  num_questions: 20 ",
    "  steps: [0.05, 0.25, 0.5, 1.0] ": "  steps: [0.5, 1.0] ",
    "  min_requests: 50 ": "  min_requests: 30 ",
    "  min_measured: 20 ": "  min_measured: 10 ",
    '  monitor_schedule: "0 * * * *" ': '  monitor_schedule: "* * * * *" ',
    '  refresh_schedule: "0 3 * * *" ': "  refresh_schedule: null ",
}
REQUESTS = 120  # a window needs monitor.window.min_requests, 100
CORRECTED = 400  # requests of the new topic, of which 160 bring a correction: enough different questions to learn it from
QUESTION = "How do I book the shared GPU server?"
PAGE = "handbook/multi-device.md"  # what the reviewer names as the page that supports the correction
PATIENCE_SECONDS = 1200
BEGAN = time.monotonic()


def say(text: str) -> None:
    seconds = int(time.monotonic() - BEGAN)
    print(f"[{seconds // 60:2d}:{seconds % 60:02d}] {text}", flush=True)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"a demo is running already in {CLONE}", file=sys.stderr)
            return 1
        with suppress(KeyboardInterrupt):
            tell_the_story()
            return 0
        print("\nstopped")
        return 130


def tell_the_story() -> None:
    say(f"A clone of the last commit, with the results of your `make run`: {CLONE}")
    make_clone()
    run("-m", "pipelines", "run", log="run.log")
    commit("Begin with the results of the main run")
    say("Release 1: proven on a fresh Triton, then put on record")
    run("-m", "pipelines", "release", "--who", "demo", "--why", "the first release", log="release.log")
    first = champion()
    with serving(), airflow() as api:
        say(f"Airflow schedules `monitor` every minute: {api.address} (login {api.login})")
        say(f"Users ask what {first} was made for ...")
        simulate("steady", 1)
        judged = judged_window(0)
        expect(judged["outcome"] == "no_drift" and judged["reaction"] == "none", "steady traffic starts nothing")
        drift()
        look_back(first, retrained(api, first))
    say("The end. Servers are stopped; everything can be looked at:")
    for path in (CLONE / "data/reports/drift/index.html", *sorted((CLONE / ".state/run_reports").glob("train-*/worst_answers.html"))):
        print(f"  file://{path}")
    print(f"  cd {CLONE} && .venv/bin/python -m pipelines releases")


def drift() -> None:
    """A new topic in the traffic, its corrections reviewed, until a window asks for a training."""
    say(f'A new topic comes up. {QUESTION}  ->  "{ask()}"')
    simulate("new-topic", 2, CORRECTED)
    say("A person reviews the corrections: an FAQ topic and golden questions are made of them, and committed")
    run("-m", "pipelines", "review", "--who", "demo", "--decision", "accept", "--request", "all", "--page", PAGE)
    commit("Learn from reviewed corrections")
    for number in range(1, 4):
        reaction = judged_window(number)["reaction"]
        if reaction == "train":
            return
        simulate("new-topic", number + 2)  # judged before the review, or too little for an alarm: people go on asking
    expect(judged_window(4)["reaction"] == "train", "an alarm about the new topic asks for a training")


def retrained(api: "Api", first: str) -> str:
    """Follow the run of `train` that the asset event started. Users go on asking, which raises the alarm again and later moves the canary."""
    say("The alarm's asset event starts `train` in Airflow, at the commit with the reviewed questions")
    run_id = wait("a run of train", lambda: next(iter(api.runs("train")), {}).get("dag_run_id"))
    stop, shown = threading.Event(), dict[str, str]()
    users = threading.Thread(target=ask_on, args=(stop, api, run_id), daemon=True)
    simulate("new-topic", 20)
    users.start()
    try:
        state = wait("the end of train", lambda: followed(api, run_id, shown))
    finally:
        stop.set()
        users.join()
    expect(state == "success", f"{run_id} ends well (its logs: {api.address})")
    again = [decision for decision in decisions() if decision["blocked_by"]]
    expect(bool(again) and len(api.runs("train")) == 1, f"the next alarm started nothing, on record: {[(decision['wanted'], *decision['blocked_by']) for decision in again]}")
    expect(champion() != first, f"{champion()} is live instead of {first}")
    return champion()


def look_back(first: str, second: str) -> None:
    """What the new release is better at, by the scores that the gate judged."""
    scores = json.loads(next((CLONE / ".state/run_reports").glob("train-*/scores.json")).read_text())
    new, old = (scores["systems"][name] for name in ("candidate", "champion"))
    rows = [("all questions", new["metrics"]["exact_match"], old["metrics"]["exact_match"]), ("the new topic", new["slices"]["style:reviewed"], old["slices"]["style:reviewed"])]
    say(f"exact match on golden questions: {second} (new) and {first} (old), mean [95 % interval]")
    for name, ours, theirs in rows:
        print("        " + f"{name:14} " + "   ".join(f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in (ours, theirs)) + f"   {ours['num']} questions")
    expect(rows[1][1]["low"] > rows[1][2]["high"], "the new release beats the old one on the new topic")
    say(f'{QUESTION}  ->  "{ask()}"')


def make_clone() -> None:
    """The last commit, the environments and servers of this clone, and the results that dvc.lock names."""
    end_leftovers()
    shutil.rmtree(CLONE, ignore_errors=True)
    git("clone", "--quiet", "--no-tags", "--single-branch", str(ROOT), str(CLONE), where=HOME)
    git("config", "user.name", "demo")
    git("config", "user.email", "demo@localhost")
    (CLONE / ".git/info/exclude").write_text("".join(f"/{name}\n" for name in BORROWED))
    for name in BORROWED:
        if (ROOT / name).exists():
            (CLONE / name).parent.mkdir(parents=True, exist_ok=True)
            (CLONE / name).symlink_to(ROOT / name)
    for path in (*(ROOT / "data/reports").glob("*.json"), ROOT / "data/index.json", ROOT / "dvc.lock"):
        if path.exists():
            shutil.copy(path, CLONE / path.relative_to(ROOT))
    (CLONE / ".dvc/config.local").write_text(f"[cache]\n    dir = {ROOT / '.dvc/cache'}\n")
    params = (CLONE / "params.yaml").read_text()
    for before, after in SHORTER.items():
        if before not in params:
            raise SystemExit(f"params.yaml of the last commit has no line {before.strip()!r}: infra/demo.py changes it; set it back for the demo")
        params = params.replace(before, after)
    (CLONE / "params.yaml").write_text(params)
    for vectors in (ROOT / ".state").glob("vectors.sqlite"):  # questions that were embedded before
        shutil.copy(vectors, CLONE / ".state")
    if (CLONE / "dvc.lock").exists():
        run("-m", "dvc", "checkout", "--quiet", "--allow-missing", log="checkout.log")
    commit("Shorten what takes days")


def commit(message: str) -> None:
    git("add", "--all")
    git("commit", "--quiet", "--allow-empty", "--message", message)


def git(*arguments: str, where: Path = CLONE) -> None:
    subprocess.run(["git", *arguments], cwd=where, check=True, env=environment())


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "GIT_", "DVC_", "WEAVIATE_", "PYTHON"))}
    return {**kept, "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', '')}", "PIPELINE_PYTHON": str(PYTHON), "PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def run(*arguments: str, log: str | None = None) -> str:
    """Output of a command of the pipeline's environment, indented on the screen or in a log. Ends the demo with what it said where it fails."""
    done = subprocess.run([str(PYTHON), *arguments], cwd=CLONE, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if log:
        (HOME / log).write_text(done.stdout)
    if done.returncode:
        raise SystemExit(f"`{' '.join(arguments)}` failed with exit code {done.returncode}:\n{done.stdout[-3000:]}")
    if not log:
        print("".join(f"        {line}\n" for line in done.stdout.splitlines()[:8]), end="", flush=True)
    return done.stdout


def expect(true: bool, what: str) -> None:
    """A promise of the loop: told when it holds, the end of the demo when it does not."""
    if not true:
        raise SystemExit(f"NOT TRUE: {what}. See {CLONE}")
    say(f"seen: {what}")


def wait(what: str, condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come within {PATIENCE_SECONDS} s. See {CLONE}")
        time.sleep(1)
    return found


def simulate(scenario: str, seed: int, requests: int = REQUESTS) -> None:
    """Questions by played users, with their feedback."""
    run("-m", "pipelines", "simulate", "--scenario", scenario, "--requests", str(requests), "--seed", str(seed))


def decisions() -> list[dict[str, Any]]:
    """What `monitor` decided so far about windows that it could judge."""
    path = CLONE / "data/reports/drift/decisions.jsonl"
    made = map(json.loads, path.read_text().splitlines() if path.exists() else [])
    return [decision for decision in made if decision["outcome"] != "cannot_tell"]


def judged_window(number: int) -> dict[str, Any]:
    """The decision about the window of this number, as soon as a scheduled `monitor` run has made it."""
    say("waiting for the next scheduled run of `monitor` ...")
    found: dict[str, Any] = wait("a decision", lambda: decisions()[number:])[0]
    say(f"monitor: {found['reason']}  Reaction: {found['reaction']}")
    return found


def champion() -> str:
    """The live release by the ledger, which Airflow's runs write from checkouts of their own."""
    run("-m", "pipelines", "champion", log="champion.log")
    return str(json.loads((CLONE / "models/champion.json").read_text())["champion"]["release_id"])


def ask() -> str:
    return run("-m", "pipelines", "ask", QUESTION, log="ask.log").strip().splitlines()[0]


def ask_on(stop: threading.Event, api: "Api", run_id: str) -> None:
    """Users ask while the new release takes over."""
    seed = 100
    while not stop.is_set():
        if api.tasks("train", run_id).get("release") == "running":
            seed += 1
            run("-m", "pipelines", "simulate", "--scenario", "steady", "--requests", "80", "--seed", str(seed), log="users.log")
        stop.wait(2)


def followed(api: "Api", run_id: str, shown: dict[str, str]) -> str | None:
    """Tell what has newly ended; the run's final state, None while it is under way."""
    for name, state in api.tasks("train", run_id).items():
        if state in ("success", "skipped", "failed") and shown.get(name) != state:
            shown[name] = state
            say(f"  train / {name}: {'unchanged' if state == 'skipped' else state}")
    return api.ended("train", run_id)


class Api:
    """Airflow's REST API, as any client sees it."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self._passwords: dict[str, str] = json.loads((CLONE / ".state/airflow/passwords.json").read_text())
        self.login = ", ".join(f"{name} / {password}" for name, password in self._passwords.items())
        self._token = ""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        asked = urllib.request.Request(f"{self.address}{path}", method=method, headers=headers, data=None if body is None else json.dumps(body).encode())  # noqa: S310 (always http)
        with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def log_in(self) -> None:
        name, password = next(iter(self._passwords.items()))
        self._token = self.call("POST", "/auth/token", {"username": name, "password": password})["access_token"]

    def runs(self, dag: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]
        return found

    def ended(self, dag: str, run_id: str) -> str | None:
        """The run's final state; None while it is under way."""
        state = str(self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}")["state"])
        return state if state in ("success", "failed") else None

    def tasks(self, dag: str, run_id: str) -> dict[str, str]:
        found = self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances?limit=100")["task_instances"]
        return {task["task_id"]: task["state"] for task in sorted(found, key=lambda task: str(task["end_date"]))}


@contextmanager
def serving() -> Iterator[None]:
    say("Serving it: Weaviate and Triton")
    with started("serve", [str(PYTHON), "-m", "pipelines", "serve"], environment()) as log:
        wait("the server", lambda: "Ctrl-C stops it" in log.read_text())
        yield


@contextmanager
def airflow() -> Iterator[Api]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with started("airflow", [sys.executable, "infra/airflow.py"], {**environment(), "AIRFLOW_PORT": str(port)}) as log:
        wait("Airflow", lambda: "Ctrl-C stops it" in log.read_text())
        api = Api(port)
        api.log_in()
        wait("the DAGs", lambda: len(api.call("GET", "/api/v2/dags")["dags"]) == 3)
        for dag in ("monitor", "train"):
            api.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})
        yield api


@contextmanager
def started(name: str, command: list[str], values: dict[str, str]) -> Iterator[Path]:
    """A server of the demo in a group of its own; its output goes to the log that is given. Ended with the block."""
    log, process_file = HOME / f"{name}.log", HOME / f"{name}.pid"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=CLONE, env=values, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
    process_file.write_text(str(process.pid))
    watch = threading.Event()
    threading.Thread(target=_watch, args=(process, watch, name), daemon=True).start()
    try:
        yield log
    finally:
        watch.set()
        process.terminate()
        process.wait(60)
        process_file.unlink()


def _watch(process: "subprocess.Popen[bytes]", wanted: threading.Event, name: str) -> None:
    """End the demo when one of its servers ends by itself."""
    process.wait()
    if not wanted.is_set():
        print(f"{name} ended by itself with exit code {process.returncode}: see {HOME / name}.log", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)


def end_leftovers() -> None:
    """Servers of a demo that was killed."""
    for path in HOME.glob("*.pid"):
        process = Path("/proc", path.read_text() or "none")
        with suppress(OSError):
            while (process / "cwd").readlink() == CLONE:
                os.kill(int(process.name), signal.SIGTERM)
                time.sleep(1)
        path.unlink()


if __name__ == "__main__":
    sys.exit(main())
