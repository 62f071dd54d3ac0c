"""refresh: documents changed. Ingest to index, then retrieval alone is measured; where it is good enough the knowledge alias moves. The model stays."""

from airflow.sdk import DAG

from dags import parts

values = parts.settings()

with DAG(
    "refresh",
    schedule=parts.schedule(values.airflow.refresh_schedule, parts.REFRESH_NEEDED),
    max_active_runs=values.airflow.max_active_runs,
    **parts.of_every_dag(values, __doc__),
) as dag:
    checkout, tidy = parts.start(), parts.end()
    stages = parts.stage_tasks(values, leading_to="index")
    switch = parts.Command(task_id="switch", arguments=["checkout", "refresh", *parts.THIS_RUN], trigger_rule="none_failed")
    parts.between(checkout, stages, tidy)
    stages["index"] >> switch >> tidy
    dag.params.update(parts.trigger_form(values, only=["ingest", "redact", "validate", "encoder", "chunk", "embed", "index", "gate"]))  # last: Airflow would copy them into every task
