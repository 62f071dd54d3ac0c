"""What the DAGs are made of: schedules, trigger forms, tasks for stages and for the checkout."""

from datetime import timedelta
from typing import Any

from airflow.sdk import (
    Asset,
    AssetAny,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    TaskGroup,
    TriggerRule,
)

from dags.operators import ROOT, Command
from pipelines import graph
from pipelines.config import form, params
from pipelines.config.airflow import AirflowConfig
from pipelines.config.params import Params

TRAIN_NEEDED = Asset("train-needed", uri="x-pipeline://train-needed")
REFRESH_NEEDED = Asset("refresh-needed", uri="x-pipeline://refresh-needed")
WHO = "{{ dag_run.triggering_user_name or dag.dag_id ~ ' by ' ~ dag_run.run_type }}"
THIS_RUN = ["--dag", "{{ dag.dag_id }}", "--run-id", "{{ run_id }}", "--triggered-by", WHO]


def load_params() -> Params:
    """params.yaml. A broken file becomes the DAG's import error, with file, line and remedy."""
    return params.load(ROOT / "params.yaml")


def dag_options(settings: AirflowConfig, doc: str | None) -> dict[str, Any]:
    """What all DAGs have in common. `doc`: the file's docstring, which the UI shows."""
    task_options = {
        "retries": settings.retries,
        "retry_delay": timedelta(seconds=settings.retry_delay_seconds),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(hours=1),
        "execution_timeout": timedelta(minutes=settings.stage_timeout_minutes),
        "queue": settings.queue,
        "on_failure_callback": notifiers(settings, "failed"),
    }
    return {"default_args": task_options, "catchup": False, "doc_md": doc, "tags": ["pipeline"]}


def schedule(cron: str | None, asset: Asset | None = None) -> Any:
    """By the clock (UTC) if there is a cron expression, and by the asset's event."""
    clock = CronTriggerTimetable(cron, timezone="UTC") if cron else None
    if asset is None:
        return clock
    return AssetOrTimeSchedule(timetable=clock, assets=AssetAny(asset)) if clock else [asset]


def trigger_form(values: Params, sections: list[str]) -> dict[str, Param]:
    """A field for each value in these sections; Airflow checks them before it makes a run."""
    fields = {
        "revision": Param(
            "HEAD",
            type="string",
            minLength=1,
            title="revision",
            description="commit, branch or tag that the run works on, of a branch that "
            "airflow.branches names",
            section="code",
        )
    }
    for field in form.fields(values, sections):
        fields[field.key] = Param(
            field.value,
            description=field.help,
            section=field.section,
            title=field.key,
            **field.schema,
        )
    return fields


def notifiers(settings: AirflowConfig, event: str) -> list[Any]:
    """An e-mail to airflow.notify by the connection smtp_default; none if nobody is named."""
    if not settings.notify:
        return []
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    subject = f"{{{{ dag.dag_id }}}}: {{{{ ti.task_id }}}} {event} in {{{{ run_id }}}}"
    reason = "{{ exception | e if exception else '' }}"
    body = f"{subject}<br>{reason}<br>{{{{ ti.log_url }}}}"
    return [SmtpNotifier(to=settings.notify, subject=subject, html_content=body)]


def action(name: str, *options: str) -> list[str]:
    """The command `checkout <name>` of this run."""
    return ["checkout", name, *THIS_RUN, *options]


def start_checkout() -> Command:
    """Makes the run's checkout, writes the run's values into it and checks them."""
    overrides = "{{ (dag_run.conf or {}) | tojson }}"
    return Command(
        task_id="checkout",
        arguments=action("start", "--overrides", overrides),
        doc="the run's own work tree and branch; refuses wrong values before anything runs",
    )


def fetch_sources() -> Command:
    """Brings what remote sources hold now; does nothing if params.yaml has none."""
    return Command(
        task_id="fetch",
        arguments=action("fetch"),
        trigger_rule=TriggerRule.ALL_SUCCESS,  # as Airflow demands after a set-up task
        doc="a new snapshot of each remote source; one that cannot be read stops the run",
    )


def tidy_up() -> Command:
    """Keeps the reports and removes old checkouts, whatever happened before."""
    return Command(
        task_id="tidy",
        arguments=action("end"),
        doc="reports kept, old checkouts removed",
    )


def stage_tasks(settings: AirflowConfig, leading_to: str | None = None) -> dict[str, Command]:
    """A task for each stage of dvc.yaml, or for one stage and those that it needs.

    They are grouped by phase and have dvc.yaml's edges.
    """
    stages = graph.read(ROOT / "dvc.yaml")
    names = graph.leading_to(stages, leading_to) if leading_to else list(stages)
    groups: dict[str | None, TaskGroup | None] = {None: None}
    tasks: dict[str, Command] = {}
    for name in names:
        phase = stages[name].phase
        if phase not in groups:
            groups[phase] = TaskGroup(str(phase), prefix_group_id=False)
        tasks[name] = _stage_task(settings, name, groups[phase])
    for before, after in sorted(graph.edges(stages)):
        if before in tasks and after in tasks:
            tasks[before] >> tasks[after]
    return tasks


def _stage_task(settings: AirflowConfig, name: str, group: TaskGroup | None) -> Command:
    queue = settings.gpu_queue if name in settings.gpu_stages else settings.queue
    return Command(
        task_id=name,
        arguments=action("stage", "--name", name),
        trigger_rule="none_failed",
        queue=queue,
        task_group=group,
    )


def enclose(checkout: Command, stages: dict[str, Command], tidy: Command) -> None:
    """Put the checkout before all stages and the tidying after them.

    The tidying runs whatever happened and does not decide the run's outcome.
    """
    for stage in stages.values():
        if not stage.upstream_task_ids:
            stage.trigger_rule = TriggerRule.ALL_SUCCESS  # as Airflow demands after a set-up task
            checkout >> stage
        if not stage.downstream_task_ids:
            stage >> tidy
    tidy.as_teardown(setups=checkout)
