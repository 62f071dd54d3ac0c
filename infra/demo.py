"""The whole loop on this machine (`make demo`): drift, retraining, a better release.

    python3 infra/demo.py            after `make run`, with whose results it begins

It took 20 minutes on 2 cores beside much other work. Everything happens in a clone of the last
commit below .state/demo, with servers of its own: your files, index, releases and traffic stay as
they are. Only the reviewer and the users are played; every decision is made by the usual commands
and DAGs.

It fails by chance less than once in a thousand times, on a busy machine too. Events are waited for:
an hour for each, users go on asking until a window raises the alarm, and until the canary has been
decided. Decisions by tests are made with 1 false one in 2000 (monitor's alarm, the canary), and
differences that the story does not tell, those of two trainings of a tiny model and of a busy
machine, are far inside what gate, canary and monitor tolerate here: CAUTIONS in infra/demo_clone.py
has each value with its reason. Standard library only.
"""

import fcntl
import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from demo_airflow import Api
from demo_clone import (
    CLONE,
    HOME,
    PYTHON,
    commit,
    decisions,
    expect,
    make_clone,
    run_command,
    run_server,
    say,
    wait,
)

NUM_REQUESTS = 120  # a window needs monitor.window.min_requests, 100
# Requests of the new topic, of which 160 bring a correction: enough questions to learn it from.
NUM_CORRECTED_REQUESTS = 400
QUESTION = "How do I book the shared GPU server?"
# What the reviewer names as the page that supports the correction.
PAGE = "handbook/multi-device.md"
END_STATES = ("success", "skipped", "failed")


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
    run_command("run", log="run.log")
    commit("Begin with the results of the main run")
    say("Release 1: proven on a fresh Triton, then put on record")
    run_command("release", "--who", "demo", "--why", "the first release", log="release.log")
    first = champion()
    with serve(), run_airflow() as api:
        say(f"Airflow schedules `monitor` every minute: {api.address} (login {api.login})")
        say(f"Users ask what {first} was made for ...")
        simulate("steady", 1)
        window = wait_for_window(0)
        is_quiet = window["outcome"] == "no_drift" and window["reaction"] == "none"
        expect(is_quiet, "steady traffic starts nothing")
        drift()
        retrain(api, first)
        look_back(first, champion())
    say("The end. Servers are stopped; everything can be looked at:")
    print(f"  file://{CLONE / 'data/reports/drift/index.html'}")
    for page in sorted((CLONE / ".state/run_reports").glob("train-*/worst_answers.html")):
        print(f"  file://{page}")
    print(f"  cd {CLONE} && .venv/bin/python -m pipelines releases")


def drift() -> None:
    """A new topic comes up; its corrections are reviewed, until a window asks for a training."""
    say(f'A new topic comes up. {QUESTION}  ->  "{ask()}"')
    simulate("new-topic", 2, NUM_CORRECTED_REQUESTS)
    say(
        "A person reviews the corrections: "
        "they become an FAQ topic and golden questions, and are committed"
    )
    decision = ("--who", "demo", "--decision", "accept", "--request", "all", "--page", PAGE)
    run_command("review", *decision)
    commit("Learn from reviewed corrections")
    for number in range(1, 4):
        if wait_for_window(number)["reaction"] == "train":
            return
        # Judged before the review, or too little for an alarm: people go on asking.
        simulate("new-topic", number + 2)
    reaction = wait_for_window(4)["reaction"]
    expect(reaction == "train", "an alarm about the new topic asks for a training")


def retrain(api: Api, first: str) -> None:
    """Follow the run of `train` that the asset event started, to its end.

    Users go on asking: first until the alarm is raised again, which starts nothing, then until the
    canary is decided.
    """
    say(
        "The alarm's asset event starts `train` in Airflow, "
        "at the commit with the reviewed questions"
    )
    run_id = wait("a run of train", lambda: api.run_ids("train"))[0]
    end = threading.Event()
    users = threading.Thread(target=keep_asking, args=(end, api, run_id), daemon=True)
    raise_alarm_again()
    expect(len(api.run_ids("train")) == 1, "there is one run of train")
    users.start()
    states: dict[str, str] = {}
    try:
        state = wait("the end of train", lambda: report_progress(api, run_id, states))
    finally:
        end.set()
        users.join()
    expect(state == "success", f"{run_id} ends well (its logs: {api.address})")
    second = champion()
    expect(second != first, f"{second} is live instead of {first}")


def raise_alarm_again() -> None:
    """The new topic goes on, until an alarm that started nothing is on record with its reasons."""
    for seed in range(20, 25):
        num_decisions = len(decisions())
        simulate("new-topic", seed)
        decision = wait_for_window(num_decisions)
        if decision["wanted"] == "train" and decision["blocked_by"]:
            reasons = (decision["wanted"], *decision["blocked_by"])
            say(f"seen: the next alarm started nothing, on record: {reasons}")
            return
    expect(False, "an alarm after the first one is on record")


def look_back(first: str, second: str) -> None:
    """What the new release is better at, by the scores that the gate judged."""
    path = next((CLONE / ".state/run_reports").glob("train-*/scores.json"))
    systems = json.loads(path.read_text())["systems"]
    new = systems["candidate"]
    old = systems["champion"]
    say(f"exact match on golden questions: {second} (new) and {first} (old), mean [95 % interval]")
    print_scores("all questions", new["metrics"]["exact_match"], old["metrics"]["exact_match"])
    new_topic = new["slices"]["style:reviewed"]
    old_topic = old["slices"]["style:reviewed"]
    print_scores("the new topic", new_topic, old_topic)
    is_better = new_topic["low"] > old_topic["high"]
    expect(is_better, "the new release beats the old one on the new topic")
    say(f'{QUESTION}  ->  "{ask()}"')


def print_scores(name: str, new: dict[str, float], old: dict[str, float]) -> None:
    columns = [f"        {name:14}"]
    for score in (new, old):
        columns.append(f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]  ")
    print(" ".join(columns), f"{new['num']} questions")


@contextmanager
def serve() -> Iterator[None]:
    say("Serving it: Weaviate and Triton")
    with run_server("serve", [str(PYTHON), "-m", "pipelines", "serve"]):
        yield


@contextmanager
def run_airflow() -> Iterator[Api]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "infra/airflow.py"]
    with run_server("airflow", command, {"AIRFLOW_PORT": str(port)}):
        api = Api(port)
        wait("the DAGs", lambda: api.num_dags() == 3)
        for dag in ("monitor", "train"):
            api.unpause(dag)
        yield api


def simulate(scenario: str, seed: int, num_requests: int = NUM_REQUESTS) -> None:
    """Questions by played users, with their feedback."""
    options = ("--scenario", scenario, "--requests", str(num_requests), "--seed", str(seed))
    run_command("simulate", *options)


def wait_for_window(number: int) -> dict[str, Any]:
    """The decision about the window of this number, made by a scheduled `monitor` run."""
    say("waiting for the next scheduled run of `monitor` ...")
    decision: dict[str, Any] = wait("a decision", lambda: decisions()[number:])[0]
    say(f"monitor: {decision['reason']}  Reaction: {decision['reaction']}")
    return decision


def champion() -> str:
    """The live release by the ledger, which Airflow's runs write from checkouts of their own."""
    run_command("champion", log="champion.log")
    content = json.loads((CLONE / "models/champion.json").read_text())
    return str(content["champion"]["release_id"])


def ask() -> str:
    return run_command("ask", QUESTION, log="ask.log").strip().splitlines()[0]


def keep_asking(end: threading.Event, api: Api, run_id: str) -> None:
    """Users ask while the new release takes over."""
    seed = 100
    while not end.is_set():
        if api.task_states("train", run_id).get("release") == "running":
            seed += 1
            options = ("--scenario", "steady", "--requests", "80", "--seed", str(seed))
            run_command("simulate", *options, log="users.log")
        end.wait(2)


def report_progress(api: Api, run_id: str, states: dict[str, str]) -> str | None:
    """Say which tasks have ended since `states`; the run's final state, None before its end."""
    for name, state in api.task_states("train", run_id).items():
        if state in END_STATES and states.get(name) != state:
            states[name] = state
            say(f"  train / {name}: {'unchanged' if state == 'skipped' else state}")
    return api.final_state("train", run_id)


if __name__ == "__main__":
    sys.exit(main())
