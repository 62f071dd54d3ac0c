"""`export` of params.yaml: the Triton model repository."""

from typing import Literal

from pydantic import Field

from pipelines.config.section import Section


class ExportConfig(Section):
    """Back end, scheduling and limits of a release."""

    backend: Literal["python"] = Field(description="python: transformers in Triton's Python back end")
    version: int = Field(ge=1, description="version folder of the models")
    max_batch_size: int = Field(ge=1, description="questions generated at once")
    max_queue_delay_microseconds: int = Field(ge=0, description="how long a question may wait for others")
    num_instances: int = Field(ge=1, description="copies of the language model on the device")
    max_texts: int = Field(ge=1, description="texts encoded at once")
    max_question_characters: int = Field(ge=1, description="characters of the longest question")
    max_prompt_tokens: int = Field(ge=1, description="tokens of the longest prompt, passages included")
    max_new_tokens: int = Field(ge=1, description="tokens of the longest answer")
    timeout_seconds: float = Field(gt=0, description="a request that takes longer ends with an error")
    search_timeout_seconds: float = Field(gt=0, description="how long Weaviate may take")
    max_requests_at_once: int = Field(ge=1, le=1024, description="requests worked on side by side")
