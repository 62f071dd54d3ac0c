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
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines import graph
from pipelines.errors import UserError

COMMANDS = {
    "run": "`dvc repro`, then the summary (what `make run` does after the set-up)",
    "check": "check params.yaml, dvc.yaml, FAQ, golden set, prompts and overrides without running anything",
    "fetch": "bring what remote sources hold now into data/raw/fetched, for ingest to read",
    "summary": "print the summary of the last run",
    "search": "show the passages that the index finds for a question",
    "alias": "let the live name in Weaviate point at data/index.json's collection, or back",
    "serve": "start Weaviate and hold it until Ctrl-C",
    "release": "make the exported candidate the champion, on record",
    "releases": "list the releases",
    "schema": "print the JSON Schema of params.yaml",
}


def run_stage(name: str) -> None:
    """Check the parameters, bind the stage's arguments by name, run it, and note the seconds."""
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


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m pipelines", description="Run a stage of dvc.yaml, or a command around the pipeline.")
    verbs = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for stage in graph.read():
        verbs.add_parser(stage, help=f"stage of dvc.yaml; `dvc repro {stage}` runs it with what it needs")
    made_verbs = {name: verbs.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    made_verbs["search"].add_argument("question")
    made_verbs["search"].add_argument("--limit", type=int, default=5, help="passages shown (default 5)")
    made_verbs["fetch"].add_argument("source", nargs="?", help="name of one source (default: all that are remote)")
    made_verbs["alias"].add_argument("--back", action="store_true", help="name the collection before instead")
    made_verbs["alias"].add_argument("--show", action="store_true", help="only print what it names")
    made_verbs["release"].add_argument("--who", required=True, help="who releases")
    made_verbs["release"].add_argument("--why", required=True, help="why, in a sentence")
    return made


def execute(arguments: argparse.Namespace) -> int:
    if arguments.command in graph.read():
        run_stage(arguments.command)
        return 0
    options = {key: value for key, value in vars(arguments).items() if key != "command"}
    command = importlib.import_module(f"pipelines.commands.{arguments.command}")
    return int(command.run(**options) or 0)


def main() -> int:
    """Exit codes: 0 done, 1 an error with its remedy, 2 wrong usage, 130 interrupted."""
    if importlib.util.find_spec("pydantic") is None:
        print("this Python has none of the pipeline's packages: `source .venv/bin/activate` (after `make setup`)", file=sys.stderr)
        return 2
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not shutil.which("nvidia-smi"):
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns at every import that it found no GPU
    try:
        return execute(parser().parse_args())
    except UserError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: the same command continues", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"\nthe disk is full ({error.filename or error}): free some space, the same command continues\n", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
