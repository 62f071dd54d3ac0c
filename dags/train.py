"""train: every stage of dvc.yaml, then the approval, then the release.

A person approves, or the gate's acceptance is enough: release.approval of params.yaml decides.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from dags import tasks
from dags.operators import Approval, Brief, Command
from pipelines.config.airflow import AirflowConfig

values = tasks.load_params()
settings = values.section(AirflowConfig)

with DAG(
    "train",
    schedule=tasks.schedule(settings.train_schedule, tasks.TRAIN_NEEDED),
    max_active_runs=settings.max_active_runs,
    **tasks.dag_options(settings, __doc__),
) as dag:
    checkout = tasks.start_checkout()
    tidy = tasks.tidy_up()
    stages = tasks.stage_tasks(settings)
    brief = Brief(task_id="brief", arguments=tasks.action("brief"), trigger_rule="none_failed")
    approve = Approval(
        task_id="approve",
        automatic="{{ params['release.approval'] }}",
        subject="Release the candidate of {{ run_id }}?",
        body="{{ ti.xcom_pull('brief') }}",
        params={
            "why": Param("", type="string", title="why", description="the reason, for the record")
        },
        response_timeout=timedelta(hours=settings.approval_timeout_hours),
        execution_timeout=None,
        notifiers=tasks.notifiers(settings, "is waiting"),
    )
    release = Command(
        task_id="release", arguments=tasks.action("release"), trigger_rule="none_failed"
    )
    tasks.enclose(checkout, stages, tidy)
    checkout >> tasks.fetch_sources() >> stages["ingest"]
    stages["export"] >> brief >> approve >> release >> tidy
    # Last, since Airflow would copy them into every task that is made after it.
    sections = [name for name in values.names() if name != "airflow"]
    dag.params.update(tasks.trigger_form(values, sections))
