"""`export` of params.yaml: the Triton model repository."""

from typing import Literal

from pydantic import Field, model_validator

from pipelines.config.section import LOWER, Section


class ParityConfig(Section):
    """How close quantised weights or engine openvino must be to transformers."""

    num_prompts: int = Field(
        json_schema_extra=LOWER, ge=1, description="held-out questions for a quantised model"
    )
    num_engine_prompts: int = Field(
        json_schema_extra=LOWER, ge=1, description="held-out questions for engine openvino"
    )
    min_same_tokens: float = Field(
        json_schema_extra=LOWER,
        ge=0,
        le=1,
        description="share of tokens that are the same, each written after the same tokens",
    )
    min_same_answers: float = Field(
        json_schema_extra=LOWER, ge=0, le=1, description="share of whole answers that are the same"
    )


class VllmConfig(Section):
    """Settings that only backend vllm reads."""

    repository: str = Field(
        min_length=1,
        pattern="^/",
        description="folder by which the server sees the model repository, as mounted into "
        "NVIDIA's container",
    )
    lora: Literal["merged", "listed"] = Field(
        description="merged: into the weights; listed: base weights, and the adapter in "
        "multi_lora.json"
    )
    gpu_memory_utilization: float = Field(
        gt=0, le=1, description="share of the GPU's memory for weights and keys and values"
    )
    tensor_parallel_size: int = Field(ge=1, description="GPUs that share the weights")


class ExportConfig(Section):
    """Backend, scheduling and limits of a release."""

    backend: Literal["python", "vllm"] = Field(
        description="python: generation.engine in Triton's Python backend; vllm: vLLM, in NVIDIA's "
        "container image"
    )
    quantisation: Literal["none", "int8", "int4"] = Field(
        description="of the language model's weights, when it is loaded; backend python, "
        "engine transformers"
    )
    version: int = Field(ge=1, description="version folder of the models")
    max_batch_size: int = Field(ge=1, description="questions generated at once")
    max_queue_delay_microseconds: int = Field(
        ge=0, description="how long a question may wait for others"
    )
    num_instances: int = Field(ge=1, description="copies of the language model on the device")
    max_texts: int = Field(ge=1, description="texts encoded at once")
    max_question_characters: int = Field(ge=1, description="characters of the longest question")
    max_prompt_tokens: int = Field(
        ge=1, description="tokens of the longest prompt, passages included"
    )
    max_new_tokens: int = Field(ge=1, description="tokens of the longest answer")
    timeout_seconds: float = Field(
        gt=0, description="a request that takes longer ends with an error"
    )
    search_timeout_seconds: float = Field(gt=0, description="how long Weaviate may take")
    max_requests_at_once: int = Field(ge=1, le=1024, description="requests worked on side by side")
    parity: ParityConfig = Field(description="what a quantised model or engine openvino must show")
    vllm: VllmConfig = Field(description="settings of backend vllm")

    @model_validator(mode="after")
    def _check_backend(self) -> "ExportConfig":
        if self.backend == "vllm" and self.quantisation != "none":
            raise ValueError(
                f"quantisation: {self.quantisation} is for backend python: vLLM runs on another "
                "machine, so its parity cannot be measured here. Set none, or name a base model "
                "that is quantised already"
            )
        if self.backend == "python" and self.vllm.lora == "listed":
            raise ValueError(
                "vllm.lora: listed is for backend vllm: backend python serves merged weights. "
                "Set merged"
            )
        return self
