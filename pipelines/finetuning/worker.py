"""One rank of a fine-tuning: transformers' Trainer over a PEFT model, under DeepSpeed. Started by the launcher alone."""

import fcntl
import json
import os
import shutil
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.config.finetune import FinetuneConfig
from pipelines.errors import UserError
from pipelines.finetuning.job import FINISHED, Job
from pipelines.hardware import computes_in_bf16, has_gpu


def deepspeed_settings(config: FinetuneConfig) -> dict[str, Any]:
    """DeepSpeed's configuration; what says `auto` is filled in by the Trainer."""
    zero: dict[str, Any] = {"stage": config.zero_stage, "overlap_comm": has_gpu(), "stage3_gather_16bit_weights_on_model_save": True}
    if config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if config.offload == "all":
        zero["offload_param"] = {"device": "cpu"}
    settings: dict[str, Any] = {
        "zero_optimization": zero, "bf16": {"enabled": "auto"}, "fp16": {"enabled": "auto"}, "gradient_clipping": "auto",
        "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto", "zero_allow_untested_optimizer": True,
    }  # fmt: skip
    if config.offload != "none":
        settings["optimizer"] = {"type": "AdamW", "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}}
    return settings


def run(job: Job) -> None:
    """Train from the last finished checkpoint; rank 0 saves adapter and history to `job.result`."""
    from transformers import PrinterCallback, TrainingArguments, set_seed

    from pipelines.finetuning.batches import TrainerByLength
    from pipelines.finetuning.callbacks import Buffers, Marker, Progress

    config = job.config
    set_seed(config.seed)
    half = config.precision == "bf16" or (config.precision == "auto" and computes_in_bf16())
    arguments = TrainingArguments(
        output_dir=str(job.checkpoints), deepspeed=deepspeed_settings(config), num_train_epochs=config.num_epochs, per_device_train_batch_size=config.batch_size, per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps, learning_rate=config.learning_rate, lr_scheduler_type="linear", warmup_steps=config.warmup_share, weight_decay=config.weight_decay,
        bf16=half, fp16=config.precision == "fp16", use_cpu=not has_gpu(), activation_checkpointing=config.gradient_checkpointing, max_grad_norm=1.0, seed=config.seed, data_seed=config.seed,
        save_strategy="steps", save_steps=config.checkpoint_steps, save_total_limit=2, eval_strategy="epoch", logging_steps=10, report_to=[], dataloader_num_workers=0, remove_unused_columns=False, disable_tqdm=True,
    )  # fmt: skip
    tokenizer, train, validation = _data(job)
    model = _model(job, half)
    trainer = TrainerByLength(model=model, args=arguments, train_dataset=train, eval_dataset=validation, data_collator=_collator(config, tokenizer), callbacks=[Buffers(), Marker(), Progress()])
    trainer.remove_callback(PrinterCallback)  # Progress shows what it would print
    trainer.train(resume_from_checkpoint=last_checkpoint(job.checkpoints))
    trainer.save_model(str(job.result))
    if trainer.is_world_process_zero():
        (job.result / "history.json").write_text(json.dumps(trainer.state.log_history))


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; unfinished ones are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for path in reversed(found):
        if (path / FINISHED).exists():
            print(f"continuing from {path.name}", flush=True)
            return str(path)
        shutil.rmtree(path, ignore_errors=True)
    return None


def _data(job: Job) -> tuple[Any, list[dict[str, Any]], list[dict[str, Any]]]:
    """Tokenizer and both splits as token lists; only the completion's tokens count in the loss."""
    from datasets import load_from_disk
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(job.base), local_files_only=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    data = load_from_disk(str(job.examples))
    splits = [[encode(tokenizer, row, job.config.max_tokens) for row in data[name]] for name in ("train", "validation")]
    return tokenizer, splits[0], splits[1]


def encode(tokenizer: Any, row: dict[str, Any], max_tokens: int) -> dict[str, Any]:
    """Token ids and labels of one example (-100: not in the loss). Raises UserError where it is too long."""
    prompt = tokenizer(row["prompt"])["input_ids"]
    if tokenizer.eos_token_id is not None and prompt and prompt[-1] == tokenizer.eos_token_id:
        prompt = prompt[:-1]
    completion = [*tokenizer(row["completion"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    if len(prompt) + len(completion) > max_tokens:
        raise UserError(f"an example of topic {row['topic']} has {len(prompt) + len(completion)} tokens, more than params.yaml: finetune.max_tokens ({max_tokens}): {row['question']!r}")
    return {"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion}


def _collator(config: FinetuneConfig, tokenizer: Any) -> Any:
    if config.packing:
        from transformers import DataCollatorWithFlattening

        return DataCollatorWithFlattening(return_tensors="pt")
    from transformers import DataCollatorForSeq2Seq

    return DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=-100)


def _model(job: Job, half: bool) -> Any:
    """The base model, with LoRA beside its frozen linear layers unless all weights are trained."""
    import torch
    from transformers import AutoModelForCausalLM

    config = job.config
    settings: dict[str, Any] = {"dtype": torch.bfloat16 if half else torch.float32, "local_files_only": True}
    if config.method == "qlora":
        from transformers import BitsAndBytesConfig

        settings["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=settings["dtype"])
    model = AutoModelForCausalLM.from_pretrained(str(job.base), **settings)
    model.config.use_cache = False
    if config.method == "full":
        return model
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if config.method == "qlora":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=config.gradient_checkpointing)
    elif config.gradient_checkpointing:
        model.enable_input_require_grads()
    trained = [*_embedding_names(model)] if config.train_embeddings else None
    tied = bool(trained and model.config.tie_word_embeddings)
    adapter = LoraConfig(
        task_type="CAUSAL_LM", r=config.lora_rank, lora_alpha=config.lora_alpha, lora_dropout=config.lora_dropout, target_modules="all-linear", modules_to_save=trained, ensure_weight_tying=tied,
    )  # fmt: skip
    # Stage 3 shards all trained weights in one buffer, so they must be of one type; DeepSpeed keeps 32-bit copies either way.
    return get_peft_model(model, adapter, autocast_adapter_dtype=config.zero_stage != 3)


def _embedding_names(model: Any) -> list[str]:
    """Last parts of the names of the input embedding and, where it has weights of its own, the output one."""
    wanted = [model.get_input_embeddings()] + ([] if model.config.tie_word_embeddings else [model.get_output_embeddings()])
    return [name.rsplit(".", 1)[-1] for name, module in model.named_modules() if any(module is one for one in wanted)]


def _end_with_stage(lock: Path) -> None:
    """End this rank, with whatever it does, within a second after the stage's end."""
    with lock.open() as held:
        while True:
            time.sleep(1)
            with suppress(BlockingIOError):
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
                os._exit(1)


if __name__ == "__main__":
    given = Job.model_validate_json(Path(next(word for word in sys.argv[1:] if not word.startswith("--"))).read_text())
    threading.Thread(target=_end_with_stage, args=[given.lock], daemon=True).start()
    try:
        run(given)
    except UserError as error:
        sys.exit(f"\n{error}\n")
