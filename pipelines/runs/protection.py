"""Holds a run's values against those of the protected branch.

That is the main branch of the Git remote that machines share or, on one machine, the commit that
the clone has checked out. What is looser there than in the run was reviewed; what is looser in the
run was not, be it by the trigger form or by a branch of somebody's own.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipelines.config import params, protection
from pipelines.config.airflow import AirflowConfig
from pipelines.config.params import Params
from pipelines.config.protection import Difference
from pipelines.errors import Refusal, invalid_yaml
from pipelines.runs import revisions
from pipelines.runs.revisions import PARAMS
from pipelines.runs.work_trees import Run
from pipelines.system import git

GATE_OVERRIDES = "data/overrides.yaml"
# What decides how a candidate is made and judged, beside the values. Results are not among it.
CODE = (
    *("pipelines", "infra", "dvc.yaml", "data/golden", "data/qa", "data/faq", "data/prompts"),
    GATE_OVERRIDES,
)


class Deviations(NamedTuple):
    """What a run has otherwise than the protected branch."""

    commit: str  # of the protected branch
    values: list[Difference]  # the looser ones first
    code: list[str]  # files of code, questions and prompts


def require(run: Run, values: Params, who: str) -> None:
    """Raises Refusal if a protected value of the run is looser than on the protected branch.

    `who`: who started the run, by Airflow's name. Those whom `airflow.approvers` of the protected
    branch names may loosen. The caller has entered the run.
    """
    commit = revisions.protected_commit(run.remote)
    branch_values = revisions.params_at(commit)
    if who in branch_values.section(AirflowConfig).approvers:
        return
    problems: list[str] = []
    for difference in protection.differences(branch_values, values):
        if difference.is_looser:
            problems.append(_explain(difference))
    for entry in _new_gate_overrides(run, commit):
        problems.append(f"{GATE_OVERRIDES}: {entry} is not on the protected branch")
    if problems:
        raise Refusal(
            "\n".join(problems) + f"\nThe protected branch is at {commit[:12]}. Change the file "
            "there, by a reviewed commit, or let somebody whom airflow.approvers names start the "
            f"run ({who or 'nobody'} is not among them)"
        )


def deviations(run: Run) -> Deviations:
    """In what the run differs from the protected branch. The caller has entered the run."""
    commit = revisions.protected_commit(run.remote)
    values = protection.differences(revisions.params_at(commit), params.load(run.folder / PARAMS))
    values.sort(key=lambda difference: not difference.is_looser)
    span = f"{commit}...{run.ref}"  # since both were the same
    code = git.output("diff", "--name-only", span, "--", *CODE).splitlines()
    return Deviations(commit, values, code)


def _explain(difference: Difference) -> str:
    return (
        f"{PARAMS}: {difference.key}: {json.dumps(difference.after)} is looser than the protected "
        f"branch's {json.dumps(difference.before)}"
    )


def _new_gate_overrides(run: Run, commit: str) -> list[Any]:
    """Entries of data/overrides.yaml that excuse a candidate in this run alone."""
    path = run.folder / GATE_OVERRIDES
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    reviewed = _entries(git.file_at(commit, GATE_OVERRIDES) or "")
    return [entry for entry in _entries(text) if entry not in reviewed]


def _entries(text: str) -> list[Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise invalid_yaml(Path(GATE_OVERRIDES), error) from error
    if content is None:
        return []
    return content if isinstance(content, list) else [content]
