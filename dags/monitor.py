"""monitor: the drift check. A confirmed drift emits the asset event that starts `train` or `refresh`; anything else emits nothing."""

from airflow.sdk import DAG

from dags import parts

values = parts.settings()

with DAG("monitor", schedule=parts.schedule(values.airflow.monitor_schedule), max_active_runs=1, **parts.of_every_dag(values, __doc__)):
    monitor = parts.Monitor(task_id="monitor", arguments=[])
    monitor >> [
        parts.Reaction(task_id="train_needed", reactions=("train",), outlets=[parts.TRAIN_NEEDED]),
        parts.Reaction(task_id="refresh_needed", reactions=("refresh",), outlets=[parts.REFRESH_NEEDED]),
        parts.Reaction(task_id="human_needed", reactions=("human", "cannot_tell"), fails=True),
    ]
