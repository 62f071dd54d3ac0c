"""The operators of the DAGs: commands of `python -m pipelines`, the approval, the reactions.

A command runs in the pipeline's own environment (`.venv`, or the interpreter that PIPELINE_PYTHON
names), and its output appears line by line in the task's log. Nothing heavy is imported here.
"""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow.providers.common.compat.sdk import conf
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from pipelines.errors import (
    REPORT_VARIABLE,
    UNCHANGED,
    ErrorReport,
    may_pass,
    read_report,
    signal_of,
)
from pipelines.runs.names import BRIEF, run_name

ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 30  # for a command to end after SIGTERM
# Variables of Airflow's own settings, secrets and environment, which a command must not see.
AIRFLOWS_OWN = ("AIRFLOW", "_AIRFLOW", "PYTHONPATH", "VIRTUAL_ENV")


class Command(BaseOperator):
    """Runs `python -m pipelines <arguments>`.

    Exit code 99 shows as skipped. What may pass is retried. Any other failure is final, with the
    command's own error.
    """

    template_fields = ("arguments",)

    def __init__(self, *, arguments: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = arguments

    @cached_property
    def hook(self) -> SubprocessHook:
        return SubprocessHook()

    def execute(self, context: Any) -> Any:
        try:
            run_command(self.hook, self.arguments)
        except AirflowTaskTimeout as error:
            self.on_kill()
            raise AirflowFailException(
                f"stopped after {self.execution_timeout}, as long as "
                "airflow.stage_timeout_minutes of params.yaml allows"
            ) from error

    def on_kill(self) -> None:
        """Stop the command and what it started."""
        process = self.hook.sub_process
        if process is not None and process.poll() is None:
            with suppress(ProcessLookupError):
                self.hook.send_sigterm()
            process.wait(STOP_SECONDS)


class Brief(Command):
    """Writes what a person reads before the approval; returns it, since that may run elsewhere."""

    def execute(self, context: Any) -> str:
        super().execute(context)
        checkout = ROOT / ".state/runs" / run_name(context["dag"].dag_id, context["run_id"])
        return (checkout / BRIEF).read_text(encoding="utf-8")


class Monitor(Command):
    """The drift check; returns its verdict, which the reactions may read on other machines.

    It is told how many trainings and refreshes run or wait. Fails if this run wrote no verdict.
    The same run asked again gives the same decision.
    """

    VERDICT = ROOT / "data/reports/drift/verdict.json"

    def execute(self, context: Any) -> Any:
        num_runs = 0
        for dag in ("train", "refresh"):
            num_runs += context["ti"].get_dr_count(dag_id=dag, states=["queued", "running"])
        self.arguments = ["monitor", "--run-id", context["run_id"], "--running", str(num_runs)]
        super().execute(context)
        if not self._is_written_since(context["dag_run"].start_date):
            raise AirflowFailException(
                f"{self.VERDICT} was not written by this run: nothing is started"
            )
        return json.loads(self.VERDICT.read_text(encoding="utf-8"))

    def _is_written_since(self, start: datetime) -> bool:
        if not self.VERDICT.exists():
            return False
        return datetime.fromtimestamp(self.VERDICT.stat().st_mtime, UTC) >= start


class Approval(ApprovalOperator):
    """Asks a person and records the decision in the ledger; a refusal skips the release.

    `automatic="auto"` records the gate's acceptance instead.
    """

    template_fields = (*ApprovalOperator.template_fields, "automatic")

    def __init__(self, *, automatic: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.automatic = automatic

    def execute(self, context: Any) -> Any:
        if self.automatic == "auto":
            why = "the gate's acceptance is enough"
            who = "release.approval: auto"
            self._record(context, "approved", who, why, "--automatic")
            raise AirflowSkipException(f"release.approval is auto: {why}")
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        if "error" in event:
            raise AirflowFailException(
                "nobody answered within airflow.approval_timeout_hours: nothing is released"
            )
        who = event["responded_by_user"]["name"]
        is_approved = event["chosen_options"] == [self.APPROVE]
        if is_approved and who == context["dag_run"].triggering_user_name and has_several_users():
            self.log.warning(
                "%s triggered this run and may not approve it: somebody else must. Asking again",
                who,
            )
            return self.execute(context)
        why = (event["params_input"] or {}).get("why") or "no reason given"
        self._record(context, "approved" if is_approved else "refused", who, why)
        return super().execute_complete(context, event)

    def _record(self, context: Any, decision: str, who: str, why: str, *options: str) -> None:
        run = ["--dag", context["dag"].dag_id, "--run-id", context["run_id"]]
        run += ["--triggered-by", context["dag_run"].triggering_user_name or ""]
        words = ["--decision", decision, "--who", who, "--why", why, *options]
        run_command(SubprocessHook(), ["checkout", "decide", *run, *words])


class Reaction(BaseOperator):
    """Succeeds, and so emits its outlets, if the verdict of `monitor` asks for its reactions.

    It is skipped if the verdict asks for another reaction, and fails if that is an unknown one.
    """

    REACTIONS = ("none", "refresh", "train", "human", "cannot_tell")

    def __init__(self, *, reactions: tuple[str, ...], fails: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reactions = reactions
        self.fails = fails

    def execute(self, context: Any) -> str:
        verdict = context["ti"].xcom_pull(task_ids="monitor") or {}
        reaction = verdict.get("reaction")
        reason = verdict.get("reason", "")
        if reaction not in self.REACTIONS:
            raise AirflowFailException(
                f"the verdict asks for {reaction!r}, which is none of "
                f"{', '.join(self.REACTIONS)}: nothing is started"
            )
        if reaction not in self.reactions:
            raise AirflowSkipException(f"the verdict is `{reaction}`: {reason}")
        if self.fails:
            raise AirflowFailException(f"{reaction}: {reason}")
        return str(reason)


def run_command(hook: SubprocessHook, arguments: list[str]) -> None:
    """Run `python -m pipelines <arguments>`; its exit code becomes the task's outcome."""
    python = os.environ.get("PIPELINE_PYTHON", str(ROOT / ".venv/bin/python"))
    command = [python, "-m", "pipelines", *arguments]
    with TemporaryDirectory() as folder:
        report_file = Path(folder) / "error.json"
        environment = {**_environment(python), REPORT_VARIABLE: str(report_file)}
        result = hook.run_command(command, env=environment, cwd=str(ROOT))
        report = read_report(report_file)
    if result.exit_code == UNCHANGED:
        # The message of a skip is no line of the log.
        hook.log.info("skipped (cached): nothing that this task reads has changed")
        raise AirflowSkipException("skipped (cached): nothing that this task reads has changed")
    if result.exit_code:
        raise _error_of(result.exit_code, report)


def _environment(python: str) -> dict[str, str]:
    """The command's environment: nothing of Airflow's, and the pipeline's programs first."""
    environment = dict(os.environ)
    for name in os.environ:
        if name.startswith(AIRFLOWS_OWN):
            del environment[name]
    environment["PATH"] = f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PIPELINE_TASK_PID"] = str(os.getpid())
    return environment


def _error_of(exit_code: int, report: ErrorReport | None) -> AirflowException:
    """The task's error, which Airflow retries unless it is an AirflowFailException."""
    error = AirflowException if may_pass(exit_code) else AirflowFailException
    if report:
        return error(report.message)
    number = signal_of(exit_code)
    if number:
        return error(f"the command was killed by signal {number}")
    return error(f"the command ended with exit code {exit_code}; its output is above")


def has_several_users() -> bool:
    """Whether somebody else could approve.

    Only the simple auth manager, which serves one machine, may have a single user.
    """
    if not conf.get("core", "auth_manager").endswith("SimpleAuthManager"):
        return True
    if conf.getboolean("core", "simple_auth_manager_all_admins"):
        return False
    return len(conf.getlist("core", "simple_auth_manager_users")) > 1
