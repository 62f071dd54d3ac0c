"""One rank of a fine-tuning: the Trainer over a PEFT model, under DeepSpeed's launcher."""

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.config.finetune import FinetuneConfig
from pipelines.errors import UserError
from pipelines.runtime.prompt_tokens import answer_tokens, prompt_tokens
from pipelines.system import locks
from pipelines.system.hardware import computes_in_bf16, has_gpu
from pipelines.training.batches import IGNORE_LABEL
from pipelines.training.job import FINISH_MARK, HISTORY_FILE, Job


class Data(NamedTuple):
    """The tokenizer, and both splits as token ids and labels."""

    tokenizer: Any
    train: list[dict[str, Any]]
    validation: list[dict[str, Any]]


def run(job: Job, result: Path) -> None:
    """Train from the last whole checkpoint; rank 0 saves adapter and history to `result`."""
    from transformers import PrinterCallback, set_seed

    from pipelines.training.batches import TrainerByLength
    from pipelines.training.callbacks import Buffers, Marker, Progress

    config = job.config
    set_seed(config.seed)
    is_bf16 = _trains_in_bf16(config)
    arguments = _training_arguments(job, is_bf16)
    data = _load_data(job)
    trainer = TrainerByLength(
        model=_load_model(job, is_bf16),
        args=arguments,
        train_dataset=data.train,
        eval_dataset=data.validation,
        data_collator=_collator(config, data.tokenizer, _dtype(is_bf16)),
        callbacks=[Buffers(), Marker(), Progress()],
    )
    trainer.remove_callback(PrinterCallback)  # Progress shows what it would print
    trainer.train(resume_from_checkpoint=last_checkpoint(job.checkpoints))
    trainer.save_model(str(result))
    if trainer.is_world_process_zero():
        (result / HISTORY_FILE).write_text(json.dumps(trainer.state.log_history))


def _trains_in_bf16(config: FinetuneConfig) -> bool:
    if config.precision == "auto":
        return computes_in_bf16()
    return config.precision == "bf16"


def _training_arguments(job: Job, is_bf16: bool) -> Any:
    from transformers import TrainingArguments

    config = job.config
    return TrainingArguments(
        output_dir=str(job.checkpoints),
        deepspeed=deepspeed_settings(config),
        num_train_epochs=config.num_epochs,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=config.warmup_share,  # a value below 1 is a share of all steps
        weight_decay=config.weight_decay,
        bf16=is_bf16,
        fp16=config.precision == "fp16",
        use_cpu=not has_gpu(),
        activation_checkpointing=config.gradient_checkpointing,
        max_grad_norm=1.0,
        seed=config.seed,
        data_seed=config.seed,
        save_strategy="steps",
        save_steps=config.checkpoint_steps,
        save_total_limit=2,
        eval_strategy="epoch",
        logging_steps=10,
        report_to=[],
        dataloader_num_workers=0,
        remove_unused_columns=False,
        disable_tqdm=True,
    )


def deepspeed_settings(config: FinetuneConfig) -> dict[str, Any]:
    """DeepSpeed's configuration; the Trainer fills in each `auto`."""
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "overlap_comm": has_gpu(),
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    settings: dict[str, Any] = {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "zero_allow_untested_optimizer": True,
    }
    if config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
        settings["optimizer"] = {
            "type": "AdamW",
            "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"},
        }
    if config.offload == "all":
        zero["offload_param"] = {"device": "cpu"}
    return settings


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; unfinished ones after it are removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=_step)
    for path in reversed(checkpoints):
        if (path / FINISH_MARK).exists():
            print(f"continuing from {path.name}", flush=True)
            return str(path)
        shutil.rmtree(path, ignore_errors=True)
    return None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


def _load_data(job: Job) -> Data:
    from datasets import load_from_disk
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(job.base), local_files_only=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    rows = load_from_disk(str(job.examples))
    max_tokens = job.config.max_tokens
    train = [encode(tokenizer, row, max_tokens) for row in rows["train"]]
    validation = [encode(tokenizer, row, max_tokens) for row in rows["validation"]]
    if job.config.packing == "shared":
        from pipelines.training import shared_prompts

        train = shared_prompts.join(train)
        validation = shared_prompts.join(validation)
    return Data(tokenizer, train, validation)


def encode(tokenizer: Any, row: dict[str, Any], max_tokens: int) -> dict[str, Any]:
    """Token ids and labels of one example; only the completion's tokens count in the loss.

    Raises UserError if the example is too long, or if its text gives a control token.
    """
    try:
        prompt = prompt_tokens(tokenizer, row["prompt"])
        completion = answer_tokens(tokenizer, row["completion"])
    except ValueError as error:
        raise UserError(
            f"an example of topic {row['topic']} cannot be encoded: {error}: {row['question']!r}"
        ) from error
    num_tokens = len(prompt) + len(completion)
    if num_tokens > max_tokens:
        raise UserError(
            f"an example of topic {row['topic']} has {num_tokens} tokens, more than "
            f"params.yaml: finetune.max_tokens ({max_tokens}): {row['question']!r}"
        )
    return {"input_ids": prompt + completion, "labels": [IGNORE_LABEL] * len(prompt) + completion}


def _collator(config: FinetuneConfig, tokenizer: Any, dtype: Any) -> Any:
    if config.packing == "joined":
        from transformers import DataCollatorWithFlattening

        return DataCollatorWithFlattening(return_tensors="pt")
    if config.packing == "shared":
        from pipelines.training.shared_prompts import Collator

        return Collator(tokenizer.pad_token_id, dtype if _reads_eagerly(config) else None)
    from transformers import DataCollatorForSeq2Seq

    # On the left, so that the answers stand together at the end (batches.py).
    tokenizer.padding_side = "left"
    return DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=IGNORE_LABEL)


def _reads_eagerly(config: FinetuneConfig) -> bool:
    """Whether attention is computed by plain products instead of PyTorch's fused function.

    With a mask of its own that is slower on a CPU: 39 against 23 ms forwards and backwards (4 rows
    of 264 tokens, 9 heads, bf16, 2 cores).
    """
    return config.packing == "shared" and not has_gpu()


def _dtype(is_bf16: bool) -> Any:
    import torch

    return torch.bfloat16 if is_bf16 else torch.float32


def _load_model(job: Job, is_bf16: bool) -> Any:
    """The base model, with LoRA beside its frozen linear layers unless all weights are trained."""
    from transformers import AutoModelForCausalLM

    config = job.config
    dtype = _dtype(is_bf16)
    settings: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    if _reads_eagerly(config):
        settings["attn_implementation"] = "eager"
    if config.method == "qlora":
        settings["quantization_config"] = _four_bit_weights(dtype)
    model = AutoModelForCausalLM.from_pretrained(str(job.base), **settings)
    model.config.use_cache = False
    return model if config.method == "full" else _with_lora(model, config)


def _four_bit_weights(dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _with_lora(model: Any, config: FinetuneConfig) -> Any:
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if config.method == "qlora":
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=config.gradient_checkpointing
        )
    elif config.gradient_checkpointing:
        model.enable_input_require_grads()
    embeddings = _embedding_names(model) if config.train_embeddings else None
    adapter = LoraConfig(
        task_type="CAUSAL_LM",
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=_linear_names(model) if config.first_layer else "all-linear",
        layers_to_transform=_trained_layers(model, config),
        modules_to_save=embeddings,
        ensure_weight_tying=bool(embeddings and model.config.tie_word_embeddings),
    )
    # Stage 3 shards all trained weights in one buffer, so they must have one type; DeepSpeed keeps
    # 32-bit copies either way.
    return get_peft_model(model, adapter, autocast_adapter_dtype=config.zero_stage != 3)


def _trained_layers(model: Any, config: FinetuneConfig) -> list[int] | None:
    """Numbers of the layers with LoRA; None: all. Raises UserError if none is left."""
    if config.first_layer == 0:
        return None
    num_layers = int(model.config.num_hidden_layers)
    if config.first_layer >= num_layers:
        raise UserError(
            f"params.yaml: finetune.first_layer: {config.first_layer}, but the base model has "
            f"{num_layers} layers, numbered from 0: take a smaller number"
        )
    return list(range(config.first_layer, num_layers))


def _linear_names(model: Any) -> list[str]:
    """Last parts of the names of the layers' linear modules, the output embedding left out."""
    import torch

    head = model.get_output_embeddings()
    names: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            names.add(name.rsplit(".", 1)[-1])
    return sorted(names)


def _embedding_names(model: Any) -> list[str]:
    """Names, without their path, of the input embedding and of an output one of its own."""
    embeddings = [model.get_input_embeddings()]
    if not model.config.tie_word_embeddings:
        embeddings.append(model.get_output_embeddings())
    identities = set(map(id, embeddings))
    names = []
    for name, module in model.named_modules():
        if id(module) in identities:
            names.append(name.rsplit(".", 1)[-1])
    return names


def _end_with_stage(lock: Path) -> None:
    """End this rank, whatever it is doing, within a second of the stage's end."""
    while locks.is_held(lock):
        time.sleep(1)
    os._exit(1)


def main(arguments: list[str]) -> None:
    """The launcher adds options of its own to the paths of the job and of the result."""
    job_file, result = [word for word in arguments if not word.startswith("--")]
    job = Job.model_validate_json(Path(job_file).read_text())
    threading.Thread(target=_end_with_stage, args=[job.lock], daemon=True).start()
    try:
        run(job, Path(result))
    except UserError as error:
        sys.exit(f"\n{error}\n")
    _leave_together()


def _leave_together() -> None:
    """End this rank once every rank is done, without taking its libraries apart.

    Threads of torch's collective operations may still run when Python ends: C++ then aborts the
    rank ("terminate called without an active exception"), and the launcher the whole training.
    """
    import torch

    torch.distributed.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
