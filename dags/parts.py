"""The parts that the DAGs are made of. Airflow knows commands and exit codes of `python -m pipelines`, dvc.yaml's graph and params.yaml; nothing heavier is imported.

A command runs in the pipeline's own environment (`.venv`, or the interpreter that PIPELINE_PYTHON names), its output line by line in the task's log.
"""

import io
import json
import os
import signal
import subprocess
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import conf
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Asset, AssetAny, AssetOrTimeSchedule, BaseOperator, CronTriggerTimetable, Param, TaskGroup, TriggerRule
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException, AirflowTaskTimeout

from pipelines import graph
from pipelines.config import form, params
from pipelines.config.params import Params
from pipelines.errors import TRY_AGAIN, UNCHANGED

ROOT = Path(__file__).resolve().parents[1]
TRAIN_NEEDED, REFRESH_NEEDED = Asset("train-needed", uri="x-pipeline://train-needed"), Asset("refresh-needed", uri="x-pipeline://refresh-needed")
THIS_RUN = ["--dag", "{{ dag.dag_id }}", "--run-id", "{{ run_id }}"]
WHO = "{{ dag_run.triggering_user_name or dag.dag_id ~ ' by ' ~ dag_run.run_type }}"


class Command(BaseOperator):
    """`python -m pipelines <arguments>`. Exit code 99 shows as skipped; what may pass is retried; the rest fails at once with the command's own error."""

    template_fields = ("arguments",)

    def __init__(self, *, arguments: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = arguments
        self._started: subprocess.Popen[bytes] | None = None

    def execute(self, context: Any) -> str:
        """The command's output (its last 200 lines)."""
        self._started = _begun(self.arguments)
        try:
            return _finished(self._started, self.log)
        except AirflowTaskTimeout as error:
            self.on_kill()
            raise AirflowFailException(f"stopped after {self.execution_timeout}: airflow.stage_timeout_minutes of params.yaml allows no longer") from error

    def on_kill(self) -> None:
        """Stop the command and what it started."""
        if self._started is not None and self._started.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._started.pid, signal.SIGTERM)
            self._started.wait(30)


class Monitor(Command):
    """The drift check, told how many trainings and refreshes are under way; returns its verdict, which the reactions may read on other machines. Fails where this run wrote none.

    The same run asked again gives the same decision.
    """

    VERDICT = ROOT / "data/reports/drift/verdict.json"

    def execute(self, context: Any) -> Any:
        running = sum(context["ti"].get_dr_count(dag_id=dag, states=["queued", "running"]) for dag in ("train", "refresh"))
        self.arguments = ["monitor", "--run-id", context["run_id"], "--running", str(running)]
        super().execute(context)
        if not self.VERDICT.exists() or datetime.fromtimestamp(self.VERDICT.stat().st_mtime, UTC) < context["dag_run"].start_date:
            raise AirflowFailException(f"{self.VERDICT} was not written by this run: nothing is started")
        return json.loads(self.VERDICT.read_text(encoding="utf-8"))


def _begun(arguments: list[str]) -> "subprocess.Popen[bytes]":
    python = os.environ.get("PIPELINE_PYTHON", str(ROOT / ".venv/bin/python"))
    return subprocess.Popen([python, "-m", "pipelines", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, env=_environment(python))


def _finished(started: "subprocess.Popen[bytes]", log: Any) -> str:
    """Each line into the task's log as it comes; then the outcome."""
    said: deque[str] = deque(maxlen=200)
    for line in io.TextIOWrapper(started.stdout, encoding="utf-8", errors="replace"):
        said.append(line.rstrip())
        if line.strip():
            log.info(line.rstrip())
    code = started.wait()
    if code == UNCHANGED:
        log.info("skipped (cached): nothing that this task reads has changed")  # the reason of a skip is no line of the log
    return _outcome(code, list(said))


def _outcome(code: int, said: list[str]) -> str:
    if code == 0:
        return "\n".join(said)
    while said and not said[-1].strip():
        said.pop()
    error = "\n".join(said[max((number for number, line in enumerate(said) if not line.strip()), default=-1) + 1 :])
    if code == UNCHANGED:
        raise AirflowSkipException(f"skipped (cached): {error or 'nothing changed'}")
    if code == TRY_AGAIN or code < 0 or code in (128 + signal.SIGKILL, 128 + signal.SIGTERM):
        raise AirflowException(error or f"the command was killed ({code})")
    raise AirflowFailException(error or f"the command ended with exit code {code} and said nothing")


def _environment(python: str) -> dict[str, str]:
    """What the command sees: no setting or secret of Airflow's own, and the pipeline's programs first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW", "PYTHONPATH", "VIRTUAL_ENV"))}
    return {**kept, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', '')}", "PYTHONUNBUFFERED": "1", "PIPELINE_TASK_PID": str(os.getpid())}


class Approval(ApprovalOperator):
    """Asks a person, records the decision in the ledger, and passes it on: a refusal skips the release. `automatic: true` records the gate's acceptance instead."""

    template_fields = (*ApprovalOperator.template_fields, "automatic")

    def __init__(self, *, automatic: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.automatic = automatic

    def execute(self, context: Any) -> Any:
        if self.automatic == "auto":
            self._record(context, "approved", "release.approval: auto", "the gate's acceptance is enough")
            raise AirflowSkipException("release.approval is auto: the gate's acceptance is enough")
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        if "error" in event:
            raise AirflowFailException("nobody answered within airflow.approval_timeout_hours: nothing is released")
        who, approved = event["responded_by_user"]["name"], event["chosen_options"] == [self.APPROVE]
        if approved and who == context["dag_run"].triggering_user_name and several_users():
            self.log.warning("%s triggered this run and may not approve it: somebody else must. Asking again", who)
            return self.execute(context)
        why = (event["params_input"] or {}).get("why") or "no reason given"
        self._record(context, "approved" if approved else "refused", who, why)
        return super().execute_complete(context, event)

    def _record(self, context: Any, decision: str, who: str, why: str) -> None:
        words = ["checkout", "decide", "--dag", context["dag"].dag_id, "--run-id", context["run_id"], "--decision", decision, "--who", who, "--why", why]
        _finished(_begun(words), self.log)


def several_users() -> bool:
    """Whether somebody else could approve. Only the simple auth manager of one machine has a single user."""
    if not conf.get("core", "auth_manager").endswith("SimpleAuthManager"):
        return True
    return not conf.getboolean("core", "simple_auth_manager_all_admins") and len(conf.getlist("core", "simple_auth_manager_users")) > 1


class Reaction(BaseOperator):
    """Succeeds, and so emits its outlets, when the verdict of `monitor` asks for one of `reactions`; is skipped when it asks for another; fails where it asks for none that is known."""

    KNOWN = ("none", "refresh", "train", "human", "cannot_tell")

    def __init__(self, *, reactions: tuple[str, ...], fails: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reactions, self.fails = reactions, fails

    def execute(self, context: Any) -> str:
        verdict = context["ti"].xcom_pull(task_ids="monitor") or {}
        reaction, reason = verdict.get("reaction"), verdict.get("reason", "")
        if reaction not in self.KNOWN:
            raise AirflowFailException(f"the verdict asks for {reaction!r}, which is none of {', '.join(self.KNOWN)}: nothing is started")
        if reaction not in self.reactions:
            raise AirflowSkipException(f"the verdict is `{reaction}`: {reason}")
        if self.fails:
            raise AirflowFailException(f"{reaction}: {reason}")
        return str(reason)


def settings() -> Params:
    """params.yaml. A broken file becomes the DAG's import error: file, line, key, value, remedy."""
    return params.load(ROOT / "params.yaml")


def trigger_form(values: Params, only: list[str]) -> dict[str, Param]:
    """A field a value of these sections of params.yaml; checked by Airflow before a run is made."""
    made = {field.key: Param(field.value, description=field.help, section=field.section, title=field.key, **field.schema) for field in form.fields(values, only)}
    return {"revision": Param("HEAD", type="string", minLength=1, title="revision", description="commit, branch or tag of the clone that the run works on", section="code"), **made}


def schedule(cron: str | None, asset: Asset | None = None) -> Any:
    """By the clock (UTC) where a cron expression is given, and by the asset's event."""
    clock = CronTriggerTimetable(cron, timezone="UTC") if cron else None
    if asset is None:
        return clock
    return AssetOrTimeSchedule(timetable=clock, assets=AssetAny(asset)) if clock else [asset]


def of_every_dag(values: Params, doc: str) -> dict[str, Any]:
    """What all DAGs have in common. `doc`: the file's own words, shown in the UI."""
    given = values.airflow
    tasks = {
        "retries": given.retries, "retry_delay": timedelta(seconds=given.retry_delay_seconds), "retry_exponential_backoff": True, "max_retry_delay": timedelta(hours=1),
        "execution_timeout": timedelta(minutes=given.stage_timeout_minutes), "queue": given.queue, "on_failure_callback": notifiers(values, "failed"),
    }  # fmt: skip
    return {"default_args": tasks, "catchup": False, "doc_md": doc, "tags": ["pipeline"]}


def notifiers(values: Params, what: str) -> list[Any]:
    """An e-mail to airflow.notify by the connection smtp_default; none where nobody is named."""
    if not values.airflow.notify:
        return []
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    subject = f"{{{{ dag.dag_id }}}}: {{{{ ti.task_id }}}} {what} in {{{{ run_id }}}}"
    return [SmtpNotifier(to=values.airflow.notify, subject=subject, html_content=f"{subject}<br>{{{{ exception | e if exception else '' }}}}<br>{{{{ ti.log_url }}}}")]


def start() -> Command:
    """The run's checkout: made, given its values, checked."""
    given = ["--overrides", "{{ (dag_run.conf or {}) | tojson }}", "--who", WHO]
    return Command(task_id="checkout", arguments=["checkout", "start", *THIS_RUN, *given], doc="the run's own work tree and branch; refuses wrong values before anything runs")


def end() -> Command:
    """Keep the reports, remove old checkouts; runs whatever happened."""
    return Command(task_id="tidy", arguments=["checkout", "end", *THIS_RUN], doc="reports kept, old checkouts removed")


def stage_tasks(values: Params, leading_to: str | None = None) -> dict[str, Command]:
    """A task a stage of dvc.yaml (all, or one with what it needs), grouped by phase, with dvc.yaml's edges."""
    stages = graph.read(ROOT / "dvc.yaml")
    chosen = {name: stages[name] for name in (graph.leading_to(stages, leading_to) if leading_to else stages)}
    groups = {phase: TaskGroup(phase, prefix_group_id=False) for phase in dict.fromkeys(stage.phase for stage in chosen.values()) if phase}
    tasks = {name: _stage_task(values, name, groups.get(stage.phase)) for name, stage in chosen.items()}
    for before, after in sorted(graph.edges(stages)):
        if before in tasks and after in tasks:
            tasks[before] >> tasks[after]
    return tasks


def between(checkout: Command, stages: dict[str, Command], tidy: Command) -> None:
    """The checkout before every stage, the tidying after all, whatever happened; it does not decide the run's outcome."""
    for stage in stages.values():
        if not stage.upstream_task_ids:
            stage.trigger_rule = TriggerRule.ALL_SUCCESS  # Airflow demands it right after a set-up task
            checkout >> stage
        if not stage.downstream_task_ids:
            stage >> tidy
    tidy.as_teardown(setups=checkout)


def _stage_task(values: Params, name: str, group: TaskGroup | None) -> Command:
    queue = values.airflow.gpu_queue if name in values.airflow.gpu_stages else values.airflow.queue
    arguments = ["checkout", "stage", *THIS_RUN, "--name", name]
    return Command(task_id=name, arguments=arguments, trigger_rule="none_failed", queue=queue, task_group=group)
