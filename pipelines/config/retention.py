"""`retention` of params.yaml: how long this clone keeps what users said. No stage reads it."""

from pydantic import Field

from pipelines.config.section import Section


class RetentionConfig(Section):
    """What is removed by age or size, at the end of each `monitor`."""

    traffic_days: int | None = Field(
        # Windows look four days back for requests that were logged late.
        ge=8,
        description="that requests, feedback and their rows in windows are kept; null: for ever",
    )
    cache_megabytes: int | None = Field(
        ge=100,
        description=(
            "size from which a cache of .state is emptied, which costs time alone; null: never"
        ),
    )
