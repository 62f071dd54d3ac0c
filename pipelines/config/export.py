"""`export` of params.yaml: the Triton model repository."""

from typing import Literal

from pydantic import Field

from pipelines.config.section import Section


class ExportConfig(Section):
    """Back end and scheduling."""

    backend: Literal["python"] = Field(description="python: transformers in Triton's Python back end")
    version: int = Field(ge=1, description="version folder of the model")
    max_batch_size: int = Field(ge=1, description="requests generated at once")
    max_queue_delay_microseconds: int = Field(ge=0, description="how long a request may wait for others")
    num_instances: int = Field(ge=1, description="copies of the model on the device")
    max_new_tokens: int = Field(ge=1, description="tokens of the longest answer")
