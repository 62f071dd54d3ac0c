"""`python -m pipelines checkout ...`: work in a run's own checkout. What the Airflow tasks call; by hand it works too.

Exit codes: 0 done, 99 there was nothing to do, 75 may work later, 1 an error with its remedy.
"""

import json
from typing import Any

from pipelines import files
from pipelines.checkouts import approval, inheritance, overrides, stages, tree
from pipelines.config import params
from pipelines.errors import UNCHANGED

RUN_RECORD, RETRIEVAL = "data/reports/run.json", "data/reports/retrieval.json"


def run(action: str, dag: str, run_id: str, **options: str) -> int:
    """`action` of the run `run_id` of `dag`; options as `pipelines.__main__` parses them."""
    values = params.load().airflow
    its = tree.named(dag, run_id, values.git_remote)
    if values.git_remote and not its.folder.exists():
        tree.forget(values.git_remote, values.keep_checkouts)
    if action == "start":
        _start(its, options["revision"], options["overrides"], options["who"])
    elif action == "stage":
        return 0 if stages.execute(its, options["name"]) else UNCHANGED
    elif action == "brief":
        return _brief(its)
    elif action == "decide":
        approval.decide(its, options["who"], options["decision"] == "approved", options["why"])
    elif action == "release":
        return 0 if approval.release(its) else UNCHANGED
    elif action == "refresh":
        _refresh(its)
    else:
        tree.end(its, values.keep_checkouts)
    return 0


def _start(its: tree.Run, revision: str, given: str, who: str) -> None:
    """Checkout, newest champion, overridden values; the record of all that. Nothing else has run when a value is refused."""
    asked: dict[str, Any] = json.loads(given)
    revision = asked.pop("revision", revision)  # a field of Airflow's form beside those of params.yaml
    tree.start(its, revision)
    with tree.entered(its) as folder:
        if (folder / RUN_RECORD).exists() and json.loads((folder / RUN_RECORD).read_text(encoding="utf-8"))["run"] == its.name:
            print(f"checkout {its.folder} is continued")
            return
        inheritance.take(its)
        changes = overrides.apply(folder / "params.yaml", asked)
        files.write_json(folder / RUN_RECORD, {"run": its.name, "revision": revision, "who": who, "overrides": [change._asdict() for change in changes]})
        tree.record(its, ["params.yaml", RUN_RECORD], f"Run {its.name}, triggered by {who}")
    print(f"checkout {its.folder} of {revision}, branch {its.branch}")
    for change in changes:
        print(f"overridden: {change.key}: {change.after!r} instead of {change.before!r}")


def _brief(its: tree.Run) -> int:
    """Print the text for approval; 99 where the candidate is the champion already."""
    with tree.entered(its) as folder:
        tree.fetch(folder, ["models/triton", "data/answers.parquet"])
        text = approval.brief(folder)
        tree.record(its, [approval.BRIEF], "What is shown for approval")
    if text is None:
        print("the exported candidate is the champion already: nothing to release")
        return UNCHANGED
    print(text)
    return 0


def _refresh(its: tree.Run) -> None:
    """Measure and switch by the checkout's own code; the measurement stays on the run's branch, also when it was a refusal."""
    with tree.entered(its) as folder:
        tree.fetch(folder, ["data/chunks.parquet", "data/vectors.parquet"])
        try:
            tree.pipelines(folder, "refresh")
        finally:
            tree.record(its, [RETRIEVAL], "Retrieval measured")
