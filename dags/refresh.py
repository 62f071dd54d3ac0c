"""refresh: new documents for the live release, whose model stays.

Documents are ingested and indexed, then retrieval alone is measured. If it is good enough, the
live release reads its knowledge in the new index.
"""

from airflow.sdk import DAG

from dags import tasks
from dags.operators import Command
from pipelines.config.airflow import AirflowConfig

SECTIONS = ["ingest", "redact", "validate", "encoder", "chunk", "embed", "index", "gate"]

values = tasks.load_params()
settings = values.section(AirflowConfig)

with DAG(
    "refresh",
    schedule=tasks.schedule(settings.refresh_schedule, tasks.REFRESH_NEEDED),
    max_active_runs=settings.max_active_runs,
    **tasks.dag_options(settings, __doc__),
) as dag:
    checkout = tasks.start_checkout()
    tidy = tasks.tidy_up()
    stages = tasks.stage_tasks(settings, leading_to="index")
    switch = Command(
        task_id="switch", arguments=tasks.action("refresh"), trigger_rule="none_failed"
    )
    tasks.enclose(checkout, stages, tidy)
    checkout >> tasks.fetch_sources() >> stages["ingest"]
    stages["index"] >> switch >> tidy
    # Last, since Airflow would copy them into every task that is made after it.
    dag.params.update(tasks.trigger_form(values, SECTIONS))
