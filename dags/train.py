"""train: every stage of dvc.yaml, then a person's approval (or the gate's, by release.approval), then the release."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from dags import parts

values = parts.settings()

with DAG(
    "train",
    schedule=parts.schedule(values.airflow.train_schedule, parts.TRAIN_NEEDED),
    max_active_runs=values.airflow.max_active_runs,
    **parts.of_every_dag(values, __doc__),
) as dag:
    checkout, tidy = parts.start(), parts.end()
    stages = parts.stage_tasks(values)
    brief = parts.Command(task_id="brief", arguments=["checkout", "brief", *parts.THIS_RUN], trigger_rule="none_failed")
    approve = parts.Approval(
        task_id="approve",
        automatic="{{ params['release.approval'] }}",
        subject="Release the candidate of {{ run_id }}?",
        body="{{ ti.xcom_pull('brief') }}",
        params={"why": Param("", type="string", title="why", description="the reason, for the record")},
        response_timeout=timedelta(hours=values.airflow.approval_timeout_hours),
        execution_timeout=None,
        notifiers=parts.notifiers(values, "is waiting"),
    )
    release = parts.Command(task_id="release", arguments=["checkout", "release", *parts.THIS_RUN], trigger_rule="none_failed")
    parts.between(checkout, stages, tidy)
    stages["export"] >> brief >> approve >> release >> tidy
    dag.params.update(parts.trigger_form(values, only=[name for name in parts.form.sections() if name != "airflow"]))  # last: Airflow would copy them into every task
