"""Work in a run's own checkout: what the Airflow tasks call.

Exit codes: 0 done, 99 nothing to do, 75 may work later, 1 an error with its remedy.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config import params
from pipelines.config.airflow import AirflowConfig
from pipelines.errors import UNCHANGED, Refusal
from pipelines.runs import (
    approval,
    approval_brief,
    child_command,
    data,
    fetching,
    inheritance,
    overrides,
    protection,
    retention,
    stage_process,
    work_trees,
)
from pipelines.runs.names import BRIEF, PAGE
from pipelines.runs.work_trees import Run

RUN_RECORD = "data/reports/run.json"
RETRIEVAL = "data/reports/retrieval.json"
DECISIONS = {"approved": "approve", "refused": "refuse"}
Action = Callable[[argparse.Namespace, Run], bool]  # False: there was nothing to do


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def add(action: Action, name: str, summary: str) -> argparse.ArgumentParser:
        options = actions.add_parser(name, help=summary, description=summary)
        options.add_argument("--dag", required=True, help="train, refresh or another name")
        options.add_argument("--run-id", required=True, help="id of the run")
        options.add_argument(
            "--triggered-by", default="", help="who started the run: a person, or the schedule"
        )
        options.set_defaults(action=action)
        return options

    start = add(_start, "start", "make the checkout and write the run's values into it")
    start.add_argument(
        "--revision", default="HEAD", help="commit, branch or tag to check out (default HEAD)"
    )
    start.add_argument(
        "--overrides", default="{}", help='JSON of dotted keys, e.g. {"finetune.seed": 8}'
    )
    add(_fetch, "fetch", "bring what remote sources hold now")
    stage = add(_stage, "stage", "run one stage, unless it is unchanged")
    stage.add_argument("--name", required=True, help="name of the stage")
    add(_brief, "brief", "write and print what is shown for approval")
    decide = add(_decide, "decide", "record a decision about the candidate in the ledger")
    decide.add_argument("--decision", choices=list(DECISIONS), required=True)
    decide.add_argument("--who", default="", help="the person who decided")
    decide.add_argument("--why", default="", help="the reason")
    decide.add_argument(
        "--automatic",
        action="store_true",
        help="refuse unless release.approval of the run's params.yaml is auto",
    )
    add(_release, "release", "release the approved candidate")
    add(_refresh, "refresh", "measure the new index and let the live release use it")
    add(_end, "end", "keep the reports, remove old checkouts")


def run(arguments: argparse.Namespace) -> int:
    """Run the action that the command line names."""
    settings = _settings()
    checkout = work_trees.run_of(arguments.dag, arguments.run_id, settings.git_remote)
    if settings.git_remote and not checkout.folder.exists():
        retention.forget(settings.git_remote, settings.keep_checkouts)
    return 0 if arguments.action(arguments, checkout) else UNCHANGED


def _settings() -> AirflowConfig:
    return params.load().section(AirflowConfig)


def _start(arguments: argparse.Namespace, checkout: Run) -> bool:
    """Checkout, newest champion, overridden values, and the record of all that.

    Nothing else has run when a value is refused.
    """
    values: dict[str, Any] = json.loads(arguments.overrides)
    # Airflow's form has this field beside those of params.yaml.
    revision = values.pop("revision", arguments.revision)
    work_trees.start(checkout, revision)
    with work_trees.enter(checkout) as folder:
        check = partial(protection.require, checkout, who=arguments.triggered_by)
        if _is_recorded(folder, checkout):
            check(params.load(folder / "params.yaml"))
            print(f"checkout {checkout.folder} is continued")
            return True
        inheritance.take(checkout)
        changes = overrides.apply(folder / "params.yaml", values, check)
        record = {
            "run": checkout.name,
            "revision": revision,
            "who": arguments.triggered_by,
            "overrides": [change._asdict() for change in changes],
        }
        files.write_json(folder / RUN_RECORD, record)
        message = f"Run {checkout.name}, triggered by {arguments.triggered_by}"
        work_trees.record(checkout, ["params.yaml", RUN_RECORD], message)
    print(f"checkout {checkout.folder} of {revision}, branch {checkout.branch}")
    for change in changes:
        print(f"overridden: {change.key}: {change.after!r} instead of {change.before!r}")
    return True


def _is_recorded(folder: Path, checkout: Run) -> bool:
    """Whether an earlier attempt at this run got as far as its record."""
    path = folder / RUN_RECORD
    if not path.exists():
        return False
    return bool(json.loads(path.read_text(encoding="utf-8"))["run"] == checkout.name)


def _require_start(checkout: Run) -> None:
    """Raises Refusal if the run's first task has not accepted its values.

    Whoever may edit tasks in Airflow can mark that one as successful although it refused.
    """
    with work_trees.enter(checkout) as folder:
        if not _is_recorded(folder, checkout):
            raise Refusal(
                f"refused: the task `checkout` of this run ({checkout.name}) did not succeed: "
                "clear it and read its log"
            )


def _require_protection(arguments: argparse.Namespace, checkout: Run) -> None:
    """Raises Refusal if the run's values, as they are now, are looser than its starter may set."""
    with work_trees.enter(checkout) as folder:
        values = params.load(folder / "params.yaml")
        protection.require(checkout, values, arguments.triggered_by)


def _fetch(_: argparse.Namespace, checkout: Run) -> bool:
    _require_start(checkout)
    fetching.fetch(checkout)
    return True


def _stage(arguments: argparse.Namespace, checkout: Run) -> bool:
    _require_start(checkout)
    return stage_process.execute(checkout, arguments.name)


def _brief(arguments: argparse.Namespace, checkout: Run) -> bool:
    _require_protection(arguments, checkout)
    with work_trees.enter(checkout) as folder:
        data.fetch(folder, ["models/triton", "data/answers.parquet"])
        deviations = protection.deviations(checkout)
        text = approval_brief.write(folder, deviations)
        work_trees.record(checkout, [BRIEF, PAGE], "What is shown for approval")
    print(text or "the exported candidate is the champion already: nothing to release")
    return text is not None


def _decide(arguments: argparse.Namespace, checkout: Run) -> bool:
    if arguments.automatic:
        _require_protection(arguments, checkout)
        approval.require_automatic(checkout)
    approval.decide(checkout, arguments.who, DECISIONS[arguments.decision], arguments.why)
    return True


def _release(arguments: argparse.Namespace, checkout: Run) -> bool:
    _require_protection(arguments, checkout)
    return approval.release(checkout)


def _refresh(arguments: argparse.Namespace, checkout: Run) -> bool:
    """Measure and switch by the checkout's own code.

    The measurement stays on the run's branch, also if it was a refusal.
    """
    _require_protection(arguments, checkout)
    with work_trees.enter(checkout) as folder:
        data.fetch(folder, ["data/chunks.parquet", "data/vectors.parquet"])
        try:
            child_command.run(folder, "refresh", "--as-indexed")
        finally:
            work_trees.record(checkout, [RETRIEVAL], "Retrieval measured")
    return True


def _end(_: argparse.Namespace, checkout: Run) -> bool:
    retention.end(checkout, _settings().keep_checkouts)
    return True
