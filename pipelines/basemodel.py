"""Knows the model before fine-tuning: made from random weights on the documents, copied from a folder, or downloaded from the hub."""

import math
import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config.base import BaseConfig, MadeModel
from pipelines.errors import UserError
from pipelines.hardware import computes_in_bf16

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

PAD, BEGIN, END = "<pad>", "<s>", "</s>"
MAX_POSITIONS = 2048
WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def copy(config: BaseConfig, target: Path) -> None:
    """A folder or hub model into `target`. Raises UserError where it is not to be had or no causal language model."""
    folder = Path(config.source) if Path(config.source).is_dir() else _downloaded(config)
    for needed in ("config.json", "tokenizer_config.json"):
        if not (folder / needed).exists():
            raise UserError(f"params.yaml: base.source: {config.source} holds no {needed}: it is no transformers model with its tokenizer")
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"params.yaml: base.source: {config.source} holds no *.safetensors weights (other formats can run code when loaded)")
    shutil.copytree(folder, target, ignore=lambda _, names: [name for name in names if not any(Path(name).match(kind) for kind in WANTED_FILES)])


def _downloaded(config: BaseConfig) -> Path:
    if config.revision is None:
        raise UserError(f"params.yaml: base.source: {config.source!r} is no folder here; as a hub id it needs base.revision, the commit's 40 hex digits")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(config.source, revision=config.revision, allow_patterns=WANTED_FILES))
    except Exception as error:  # the hub's client raises a dozen kinds of errors; each means that the model is not to be had
        raise UserError(f"params.yaml: base.source: {config.source} at {config.revision} cannot be had from the hub: {error}\nCheck name, revision and network, or name a folder") from error


def make(texts: list[str], config: MadeModel, seed: int, target: Path) -> dict[str, float]:
    """Train a tokenizer and a small Llama-architecture model on `texts`; returns the loss (nats a token) at start and end."""
    import torch

    tokenizer = train_tokenizer(texts, config.vocabulary_size)
    stream = torch.tensor([token for text in texts for token in [*tokenizer(text, verbose=False)["input_ids"], tokenizer.eos_token_id]])
    if len(stream) <= config.sequence_length:
        raise UserError(f"the documents give {len(stream)} tokens, fewer than one training sequence (params.yaml: base.made.sequence_length: {config.sequence_length}): add documents or shorten it")
    torch.manual_seed(seed)
    model = _architecture(len(tokenizer), config)
    print(f"training {sum(weights.numel() for weights in model.parameters()) / 1e6:.1f} M parameters on {config.num_tokens:,} tokens ({len(stream):,} in the documents)")
    losses = list(_train(model, stream, config, seed))
    if not all(map(math.isfinite, losses)):
        raise UserError(f"the made model's loss is not finite: lower params.yaml: base.made.learning_rate ({config.learning_rate})")
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    few = max(1, len(losses) // 20)
    return {"loss_start": sum(losses[:few]) / few, "loss_end": sum(losses[-few:]) / few}


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> "PreTrainedTokenizerFast":
    """Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019): any text can be written with it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocabulary_size, special_tokens=[PAD, BEGIN, END], initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, bos_token=BEGIN, eos_token=END, model_max_length=MAX_POSITIONS, clean_up_tokenization_spaces=False)


def _architecture(vocabulary_size: int, config: MadeModel) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(
        vocab_size=vocabulary_size, hidden_size=config.hidden_size, num_hidden_layers=config.num_layers, num_attention_heads=config.num_heads, num_key_value_heads=config.num_heads,
        intermediate_size=config.hidden_size * 11 // 4, max_position_embeddings=MAX_POSITIONS, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        # 0.02, the usual value, suits a width of 2,500: narrow models learn to look back at the question far later with it.
        initializer_range=config.hidden_size**-0.5,
    ))  # fmt: skip


def _train(model: Any, stream: "torch.Tensor", config: MadeModel, seed: int) -> Iterator[float]:
    """Next-token training on random windows; yields each step's loss. AdamW, linear warm-up and decay, bf16 arithmetic where there is any."""
    import torch
    from tqdm import tqdm

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    dice = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    num_steps = max(1, config.num_tokens // (config.sequence_length * config.batch_size))
    half = computes_in_bf16()
    with tqdm(range(num_steps), desc="base model", unit=" steps", mininterval=1) as bar:
        for step in bar:
            rate = config.learning_rate * min(1.0, (step + 1) / 20) * (1 - 0.9 * step / num_steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            starts = [dice.randrange(len(stream) - config.sequence_length) for _ in range(config.batch_size)]
            batch = torch.stack([stream[start : start + config.sequence_length] for start in starts]).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = model(input_ids=batch, labels=batch).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            yield float(loss.detach())
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}", refresh=False)
