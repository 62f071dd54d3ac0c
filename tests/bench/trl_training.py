"""LoRA by TRL's SFTTrainer, as a program: test_training_speed.py runs it in a process of its own.

    python trl_training.py JOB     (a JSON file; see `Job`)

Model, examples, batch, precision and LoRA settings are the product's; the rest is as SFTTrainer has
it, but for gradient checkpointing, which costs time and is off in both.
"""

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipelines.config.finetune import FinetuneConfig


class Job(BaseModel):
    """What is trained."""

    config: FinetuneConfig
    base: Path
    examples: list[dict[str, list[int]]]  # input_ids and labels, encoded as the product does
    is_bf16: bool
    lora: Path  # folder of an adapter that the product has trained with the same settings
    output: Path  # folder
    seconds_file: Path  # gets the seconds of training, loading left out


def main() -> None:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTTrainer

    job = Job.model_validate_json(Path(sys.argv[1]).read_text())
    tokenizer = AutoTokenizer.from_pretrained(str(job.base), local_files_only=True)
    dtype = torch.bfloat16 if job.is_bf16 else torch.float32
    model = AutoModelForCausalLM.from_pretrained(str(job.base), dtype=dtype, local_files_only=True)
    lora = LoraConfig.from_pretrained(str(job.lora))
    lora.inference_mode = False
    trainer = SFTTrainer(
        model=model,
        args=_arguments(job),
        train_dataset=Dataset.from_list(job.examples),
        processing_class=tokenizer,
        peft_config=lora,
    )
    result = trainer.train()
    job.seconds_file.write_text(str(result.metrics["train_runtime"]))


def _arguments(job: Job) -> Any:
    import torch
    from trl import SFTConfig

    config = job.config
    return SFTConfig(
        output_dir=str(job.output),
        num_train_epochs=config.num_epochs,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        gradient_checkpointing=config.gradient_checkpointing,
        bf16=job.is_bf16,
        use_cpu=not torch.cuda.is_available(),
        max_length=config.max_tokens,
        seed=config.seed,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


if __name__ == "__main__":
    main()
