"""monitor: the drift check.

A confirmed drift emits the asset event that starts `train` or `refresh`. Nothing else emits one.
"""

from airflow.sdk import DAG

from dags import tasks
from dags.operators import Monitor, Reaction
from pipelines.config.airflow import AirflowConfig

settings = tasks.load_params().section(AirflowConfig)

with DAG(
    "monitor",
    schedule=tasks.schedule(settings.monitor_schedule),
    max_active_runs=1,
    **tasks.dag_options(settings, __doc__),
):
    monitor = Monitor(task_id="monitor", arguments=[])
    monitor >> [
        Reaction(task_id="train_needed", reactions=("train",), outlets=[tasks.TRAIN_NEEDED]),
        Reaction(task_id="refresh_needed", reactions=("refresh",), outlets=[tasks.REFRESH_NEEDED]),
        Reaction(task_id="human_needed", reactions=("human", "cannot_tell"), fails=True),
    ]
