"""`finetune` of params.yaml: DeepSpeed and PEFT."""

from typing import Literal

from pydantic import Field, model_validator

from pipelines.config.section import Section


class FinetuneConfig(Section):
    """What is trained, how, and on how many devices."""

    method: Literal["lora", "qlora", "full"] = Field(
        description=(
            "lora: small matrices beside frozen weights; "
            "qlora: the same over 4-bit weights (NVIDIA GPU); full: all weights"
        )
    )
    lora_rank: int = Field(ge=1, le=1024, description="rank of LoRA's matrices")
    lora_alpha: int = Field(ge=1, description="LoRA's scale is lora_alpha / lora_rank")
    lora_dropout: float = Field(ge=0, lt=1, description="dropout before LoRA's matrices")
    first_layer: int = Field(
        ge=0,
        description="lora leaves the layers below this one alone: their backward pass is saved",
    )
    train_embeddings: bool = Field(
        description=(
            "train the token embeddings too: needed if the base model has seen little text"
        )
    )
    learning_rate: float = Field(gt=0, lt=1, description="peak; linear decay after the warm-up")
    warmup_share: float = Field(
        ge=0, lt=1, description="share of steps with a rising learning rate"
    )
    weight_decay: float = Field(ge=0, lt=1, description="AdamW's weight decay")
    num_epochs: float = Field(gt=0, description="passes over the training examples")
    batch_size: int = Field(ge=1, description="examples of similar length per step and process")
    gradient_accumulation_steps: int = Field(
        ge=1, description="steps whose gradients are added up before an update"
    )
    max_tokens: int = Field(
        ge=16, description="tokens of an example; a longer one is an error, not cut"
    )
    packing: Literal["none", "joined", "shared"] = Field(
        description=(
            "joined: the examples of a batch in one sequence without padding (no attention across "
            "them); shared: what several prompts begin with, such as a passage, is read once"
        )
    )
    gradient_checkpointing: bool = Field(
        description="recompute activations: less memory, a third more time"
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        description="auto: bf16 if the hardware computes in it, else fp32"
    )
    zero_stage: int = Field(
        ge=0,
        le=3,
        description="DeepSpeed ZeRO: 1 shards optimizer states, 2 gradients too, 3 weights too",
    )
    offload: Literal["none", "optimizer", "all"] = Field(
        description="keep optimizer states (all: weights too, with stage 3) in CPU memory"
    )
    num_processes: int = Field(
        ge=0, description="ranks on this machine; 0: one per GPU, or one on the CPU"
    )
    hostfile: str | None = Field(
        description="DeepSpeed hostfile for several nodes; null: this machine alone"
    )
    checkpoint_steps: int = Field(
        ge=1, description="steps between checkpoints: what a kill can lose"
    )
    seed: int = Field(ge=0, description="seed of initialisation and order")

    @model_validator(mode="after")
    def _combination_exists(self) -> "FinetuneConfig":
        if self.method == "qlora" and self.zero_stage == 3:
            raise ValueError(
                "method qlora does not work with zero_stage 3 here: "
                "4-bit weights are not sharded; use zero_stage 2"
            )
        if self.offload == "all" and self.zero_stage != 3:
            raise ValueError(
                f"offload: all needs zero_stage 3 (it is {self.zero_stage}); use offload: optimizer"
            )
        if self.offload == "optimizer" and self.zero_stage == 0:
            raise ValueError("offload: optimizer needs zero_stage 1, 2 or 3 (it is 0)")
        return self
