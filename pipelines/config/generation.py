"""`generation` of params.yaml: what computes the answers."""

from typing import Literal

from pydantic import Field

from pipelines.config.section import Section


class GenerationConfig(Section):
    """The engine that answers in `evaluate` and in the release."""

    engine: Literal["auto", "openvino", "transformers"] = Field(
        description="openvino: OpenVINO GenAI, on CPUs; transformers: PyTorch; auto: transformers "
        "if there is an NVIDIA GPU, else openvino"
    )
