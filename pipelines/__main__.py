"""Run a stage of dvc.yaml, or one of the commands around the pipeline.

python -m pipelines <stage>     what `dvc repro` calls
python -m pipelines --help      everything else
"""

import argparse
import errno
import importlib
import importlib.util
import inspect
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.errors import TRY_AGAIN, Unreachable, UserError, note_of_a_full_disk

COMMANDS = {
    "run": "`dvc repro`, then the summary (what `make run` does after the set-up)",
    "check": "check params.yaml, dvc.yaml, FAQ, golden set, prompts and overrides without running anything",
    "fetch": "bring what remote sources hold now into data/raw/fetched, for ingest to read",
    "summary": "print the summary of the last run",
    "search": "show the passages that the index finds for a question",
    "knowledge": "the collection that the live release reads; --back: let it read the one before",
    "serve": "hold Weaviate and Triton with the current release until Ctrl-C",
    "ask": "ask the served assistant",
    "feedback": "a thumb, a correction or a comment about an answer",
    "release": "prove the exported candidate, let it take over step by step, put it on record",
    "rollback": "make an earlier release live again",
    "releases": "list what was released, refused, approved, overridden and rolled back",
    "decide": "put a person's approval or refusal of the candidate into the ledger",
    "champion": "bring models/champion to the clone's live release",
    "traffic": "validate the requests that no window has judged yet, as `monitor` would",
    "monitor": "judge the traffic since the last window, decide what follows, and put both on record",
    "accept": "say that a window is what traffic should look like: the baseline begins anew with it",
    "review": "decide on thumbs-down and corrections; what is accepted becomes FAQ and golden questions",
    "simulate": "ask the served assistant what people would ask in a scenario",
    "schema": "print the JSON Schema of params.yaml",
    "refresh": "measure retrieval on the new index; where it is good enough, the live release reads its knowledge there",
    "checkout": "work in a run's own checkout (what the Airflow tasks call)",
}


def run_stage(name: str) -> None:
    """Check the parameters, bind the stage's arguments by name, run it, and note the seconds."""
    from pipelines import graph
    from pipelines.config import params

    stages = graph.read()
    if name not in stages:
        raise UserError(f"dvc.yaml has no stage `{name}`; its stages are {', '.join(stages)}")
    stage, values = stages[name], params.load()
    module = importlib.import_module(f"pipelines.stages.{name}")
    sections = {"config" if section == name else section: values.section(section) for section in stage.params}
    began = time.monotonic()
    module.run(**bind(module.run, {**sections, **stage.artifacts()}, name))
    _note_seconds(name, time.monotonic() - began)


def bind(function: Callable[..., None], available: dict[str, Any], name: str) -> dict[str, Any]:
    """The arguments that `function` names. Raises UserError for a name that the stage's entry does not give."""
    wanted = list(inspect.signature(function).parameters)
    missing = [argument for argument in wanted if argument not in available]
    if missing:
        raise UserError(f"dvc.yaml: stage {name} needs `{missing[0]}` among its deps, outs or params; it gives {', '.join(sorted(available))}")
    return {argument: available[argument] for argument in wanted}


def _note_seconds(name: str, seconds: float) -> None:
    """Kept out of every artifact, so that the same input gives the same output."""
    folder = Path(".state/seconds")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"seconds": round(seconds, 1), "ended": time.time()}))


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """Of all commands, and of dvc.yaml's stages unless `command` is known to be none: `run` looks for changes at once."""
    made = argparse.ArgumentParser(prog="python -m pipelines", description="Run a stage of dvc.yaml, or a command around the pipeline.")
    verbs = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for stage in () if command in COMMANDS else _stages():
        verbs.add_parser(stage, help=f"stage of dvc.yaml; `dvc repro {stage}` runs it with what it needs")
    made_verbs = {name: verbs.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    made_verbs["search"].add_argument("question")
    made_verbs["search"].add_argument("--limit", type=int, default=5, help="passages shown (default 5)")
    made_verbs["search"].add_argument("--rerank", action="store_true", help="order the best 30 anew, word by word (evaluate and the assistant do not)")
    made_verbs["fetch"].add_argument("source", nargs="?", help="name of one source (default: all that are remote)")
    made_verbs["knowledge"].add_argument("--back", action="store_true", help="read the collection before instead")
    made_verbs["ask"].add_argument("question")
    made_verbs["ask"].add_argument("--tenant", default="default", help="who asks, for the traffic log")
    _add_feedback(made_verbs["feedback"])
    made_verbs["rollback"].add_argument("release_id", nargs="?", help="as `releases` lists it; without it, the release before the live one")
    for verb in ("release", "decide", "rollback"):
        made_verbs[verb].add_argument("--who", required=True, help="who decides")
        made_verbs[verb].add_argument("--why", required=True, help="why, in a sentence")
    made_verbs["decide"].add_argument("--decision", required=True, choices=["approve", "refuse"])
    _checkout_arguments(made_verbs["checkout"])
    _monitoring_arguments(made_verbs)
    return made


def _stages() -> list[str]:
    from pipelines import graph

    return list(graph.read())


def _add_feedback(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("request", help="the request's id, which came with the answer")
    verb.add_argument("--who", required=True, help="who gives it")
    verb.add_argument("--thumb", choices=["up", "down"])
    verb.add_argument("--correction", help="the answer that should have come")
    verb.add_argument("--comment")


def _checkout_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["start", "stage", "brief", "decide", "release", "refresh", "end"], help="what to do with the run")
    parser.add_argument("--dag", required=True, help="train, refresh or another name")
    parser.add_argument("--run-id", required=True, help="id of the run")
    parser.add_argument("--revision", default="HEAD", help="start: the commit, branch or tag to check out (default HEAD)")
    parser.add_argument("--overrides", default="{}", help='start: JSON of dotted keys, e.g. {"finetune.seed": 8}')
    parser.add_argument("--name", default="", help="stage: its name")
    parser.add_argument("--who", default="", help="start, decide: the person, or the schedule")
    parser.add_argument("--why", default="", help="decide: the reason")
    parser.add_argument("--decision", choices=["approved", "refused"], help="decide: what was decided")


def _monitoring_arguments(verbs: dict[str, argparse.ArgumentParser]) -> None:
    verbs["monitor"].add_argument("--run-id", help="a name of this run: the same name gives the same decision again")
    verbs["monitor"].add_argument("--running", type=int, help="trainings and refreshes that run or wait (default: the runs whose checkout is open on this machine)")
    verbs["accept"].add_argument("window", help="the window's name")
    verbs["accept"].add_argument("--who", required=True, help="who says so")
    verbs["accept"].add_argument("--why", required=True, help="why, in a sentence")
    verbs["review"].add_argument("--who", help="who reviews; without it the waiting feedback is listed")
    verbs["review"].add_argument("--decision", choices=["accept", "edit", "reject"], help="decide on --request without being asked")
    verbs["review"].add_argument("--request", action="append", default=[], help="a request id, or `all`; may be given several times")
    verbs["review"].add_argument("--answer", help="the answer that --decision edit gives")
    verbs["review"].add_argument("--page", help="uri of the document that supports the answer (default: the page that was retrieved first)")
    verbs["review"].add_argument("--why", default="", help="why, in a sentence")
    verbs["simulate"].add_argument("--scenario", required=True, help="a file of data/scenarios, without .yaml")
    verbs["simulate"].add_argument("--requests", type=int, default=200, help="questions asked (default 200)")
    verbs["simulate"].add_argument("--seed", type=int, default=7, help="the same seed asks the same questions (default 7)")


def execute(arguments: argparse.Namespace) -> int:
    if arguments.command not in COMMANDS:
        run_stage(arguments.command)
        return 0
    options = {key: value for key, value in vars(arguments).items() if key != "command"}
    command = importlib.import_module(f"pipelines.commands.{arguments.command}")
    return int(command.run(**options) or 0)


def main() -> int:
    """Exit codes: 0 done, 1 an error with its remedy, 2 wrong usage, 75 something did not answer and the same command may work later, 99 nothing to do, 130 interrupted, 141 nobody reads the output any more (`| head`)."""
    if importlib.util.find_spec("pydantic") is None:
        print("this Python has none of the pipeline's packages: `source .venv/bin/activate` (after `make setup`)", file=sys.stderr)
        return 2
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait slow down two trainings at once on 2 cores many times, threads that sleep at once slow down one alone;
    # these spin for some microseconds (tests/bench/test_idle_threads.py).
    if os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE") == "PASSIVE":
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    if not shutil.which("nvidia-smi"):
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns at every import that it found no GPU
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: _interrupt(interrupts, number))
    try:
        code = execute(parser(*sys.argv[1:2]).parse_args())
        sys.stdout.flush()  # here, so that what goes wrong with it is said below
        return code
    except UserError as error:
        print(f"\n{error}\n{note_of_a_full_disk()}", file=sys.stderr)
        return TRY_AGAIN if isinstance(error, Unreachable) else 1
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) or interrupts:  # a library's compiled code turns the interrupt into an error of its own
            print("\ninterrupted: the same command continues", file=sys.stderr)
            return 130
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 141
        if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
            print(note_of_a_full_disk(), file=sys.stderr)
            raise
        print(f"\nthe disk is full ({error.filename or error}): free some space, the same command continues\n", file=sys.stderr)
        return 1


def _interrupt(interrupts: list[int], number: int) -> None:
    interrupts.append(number)
    raise KeyboardInterrupt


def _nobody_reads() -> bool:
    """Whether it is the standard output that broke; it is then turned off, since Python flushes it once more at its end."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
