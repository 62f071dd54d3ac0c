"""The small model that is made here: a tokenizer and a Llama trained on the documents."""

import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.config.base import MadeModel
from pipelines.errors import UserError
from pipelines.system.hardware import computes_in_bf16

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

PAD, BEGIN, END = "<pad>", "<s>", "</s>"
MAX_POSITIONS = 2048
NUM_WARMUP_STEPS = 20


class Losses(NamedTuple):
    """Mean loss of the first and the last twentieth of the steps, in nats a token."""

    start: float
    end: float


def make(texts: list[str], config: MadeModel, seed: int, target: Path) -> Losses:
    """Train a tokenizer and a small Llama-architecture model on `texts`, from random weights."""
    import torch

    tokenizer = train_tokenizer(texts, config.vocabulary_size)
    stream = torch.tensor(list(_tokens(texts, tokenizer)))
    if len(stream) <= config.sequence_length:
        raise UserError(
            f"the documents give {len(stream)} tokens, fewer than one training sequence "
            f"(params.yaml: base.made.sequence_length: {config.sequence_length}): "
            "add documents or shorten it"
        )
    torch.manual_seed(seed)
    model = _build_model(len(tokenizer), config)
    num_parameters = sum(weights.numel() for weights in model.parameters())
    print(
        f"training {num_parameters / 1e6:.1f} M parameters on {config.num_tokens:,} tokens "
        f"({len(stream):,} in the documents)"
    )
    losses = list(_train(model, stream, config, seed))
    if not all(map(math.isfinite, losses)):
        raise UserError(
            "the loss of the made model is not finite: "
            f"lower params.yaml: base.made.learning_rate ({config.learning_rate})"
        )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    count = max(1, len(losses) // 20)
    return Losses(start=sum(losses[:count]) / count, end=sum(losses[-count:]) / count)


def _tokens(texts: Iterable[str], tokenizer: "PreTrainedTokenizerFast") -> Iterator[int]:
    """The tokens of all texts, an end token after each."""
    for text in texts:
        yield from tokenizer(text, verbose=False)["input_ids"]
        yield tokenizer.eos_token_id


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> "PreTrainedTokenizerFast":
    """Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019), which can write any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def _build_model(vocabulary_size: int, config: MadeModel) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    architecture = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_heads,
        intermediate_size=config.hidden_size * 11 // 4,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        # 0.02, the usual value, suits a width of 2,500: with it, narrow models learn far later
        # to look back at the question.
        initializer_range=config.hidden_size**-0.5,
    )
    return LlamaForCausalLM(architecture)


def _train(model: Any, stream: "torch.Tensor", config: MadeModel, seed: int) -> Iterator[float]:
    """Next-token training on random windows; yields the loss of each step.

    AdamW with linear warm-up and decay, in bf16 if the hardware computes in it.
    """
    import torch
    from tqdm import tqdm

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    dice = random.Random(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.01
    )
    num_steps = max(1, config.num_tokens // (config.sequence_length * config.batch_size))
    is_bf16 = computes_in_bf16()
    with tqdm(range(num_steps), desc="base model", unit=" steps", mininterval=1) as bar:
        for step in bar:
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(config.learning_rate, step, num_steps)
            batch = _random_windows(stream, config, dice).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
                loss = model(input_ids=batch, labels=batch).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            yield float(loss.detach())
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}", refresh=False)


def _learning_rate(peak: float, step: int, num_steps: int) -> float:
    """Rises linearly for some steps, and decays linearly to a tenth of the peak."""
    warmup = min(1.0, (step + 1) / NUM_WARMUP_STEPS)
    return peak * warmup * (1 - 0.9 * step / num_steps)


def _random_windows(
    stream: "torch.Tensor", config: MadeModel, dice: random.Random
) -> "torch.Tensor":
    """A batch of `batch_size` x `sequence_length` tokens."""
    import torch

    windows = []
    for _ in range(config.batch_size):
        start = dice.randrange(len(stream) - config.sequence_length)
        windows.append(stream[start : start + config.sequence_length])
    return torch.stack(windows)
