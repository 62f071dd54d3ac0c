"""`airflow` of params.yaml: schedules, retries, queues and notifications. No stage reads it."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from pipelines.config.section import MORE, Section

CRON_FIELD = re.compile(r"[\d*/,A-Za-z-]+")
ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")


class AirflowConfig(Section):
    """Schedules, retries, timeouts, queues, notifications, and what is kept of a run."""

    train_schedule: str | None = Field(
        description="cron in UTC; null: by hand and when monitor asks for it"
    )
    refresh_schedule: str | None = Field(
        description="cron in UTC; null: by hand and when monitor asks for it"
    )
    monitor_schedule: str | None = Field(description="cron in UTC; null: only by hand")
    max_active_runs: int = Field(
        ge=1, le=16, description="runs of one DAG at once; each has its own checkout"
    )
    retries: int = Field(
        ge=0,
        le=10,
        description="of a task that was killed or found a service unreachable; "
        "an error with a remedy is never retried",
    )
    retry_delay_seconds: int = Field(ge=1, description="before the first retry; doubles each time")
    stage_timeout_minutes: int = Field(
        ge=1, description="a stage that takes longer is stopped and its task fails"
    )
    approval_timeout_hours: int = Field(
        ge=1, description="an approval not answered by then fails, and nothing is released"
    )
    queue: str = Field(
        min_length=1, description="queue of every task (CeleryExecutor); other executors have none"
    )
    gpu_queue: str = Field(min_length=1, description="queue of gpu_stages")
    gpu_stages: list[str] = Field(description="stages of dvc.yaml that are sent to gpu_queue")
    notify: list[str] = Field(
        description="e-mail addresses that hear of failures and waiting approvals, "
        "by the Airflow connection smtp_default; none: nobody"
    )
    approvers: list[str] = Field(
        json_schema_extra=MORE,
        description="names in Airflow of those who may loosen a protected value (gate, proof, "
        "canary, release, redact and the like) when they start a run; for everybody else that "
        "takes a change of params.yaml in Git",
    )
    branches: list[Annotated[str, Field(min_length=1)]] = Field(
        json_schema_extra=MORE,
        description="branches whose commits a run may work on, beside the protected branch itself; "
        "* stands for any characters. What counts is the protected branch's value",
    )
    git_remote: str | None = Field(
        description="Git remote by which several machines share the branches of runs; "
        "null: all tasks run on one machine"
    )
    keep_checkouts: int = Field(
        ge=0,
        description="checkouts of ended runs that stay on disk to look at; branches stay always",
    )

    @field_validator("train_schedule", "refresh_schedule", "monitor_schedule")
    @classmethod
    def _is_cron(cls, schedule: str | None) -> str | None:
        if schedule is None:
            return None
        fields = schedule.split()
        if len(fields) != 5 or not all(CRON_FIELD.fullmatch(field) for field in fields):
            raise ValueError(
                "is not a cron expression of five fields (minute hour day month weekday), "
                "such as 0 3 * * *"
            )
        return schedule

    @field_validator("notify")
    @classmethod
    def _are_addresses(cls, notify: list[str]) -> list[str]:
        for address in notify:
            if not ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} is not a valid e-mail address")
        return notify
