"""`embed` of params.yaml: how vectors are computed."""

from typing import Literal

from pydantic import Field

from pipelines.config.section import Section


class EmbedConfig(Section):
    """Engine, arithmetic and batch size."""

    engine: Literal["auto", "openvino", "torch"] = Field(
        description="openvino: on CPUs; torch: sentence-transformers itself; auto: torch if there "
        "is an NVIDIA GPU, else openvino"
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        description="auto takes bf16 if the CPU or GPU computes in it"
    )
    max_batch_tokens: int = Field(
        ge=256, description="padded tokens a batch on a GPU: bounds the memory"
    )
