"""Knows how a causal language model answers: loads base and adapter, generates greedily in batches.

The export copies this file into the Triton model, so that evaluation and serving answer by the same code: it imports nothing of ours.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """A generated text, stripped, and its cost in tokens."""

    text: str
    num_prompt_tokens: int
    num_new_tokens: int


@dataclass(frozen=True)
class Generator:
    """A loaded model and its tokenizer (padding on the left, as generation in batches needs it)."""

    model: Any
    tokenizer: Any

    def answer(self, prompts: list[str], max_new_tokens: int, batch_size: int, progress: str | None = None) -> list[Answer]:
        """Greedy answers in the order of `prompts`; similar lengths share a batch. `progress` names a bar."""
        from tqdm import tqdm

        order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
        found: dict[int, Answer] = {}
        with tqdm(total=len(prompts), desc=progress, unit=" answers", disable=progress is None, mininterval=1) as bar:
            for start in range(0, len(order), batch_size):
                places = order[start : start + batch_size]
                answers = self._batch([prompts[place] for place in places], max_new_tokens)
                found.update(zip(places, answers, strict=True))
                bar.update(len(places))
        return [found[place] for place in range(len(prompts))]

    def _batch(self, prompts: list[str], max_new_tokens: int) -> list[Answer]:
        import torch

        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True).to(self.model.device)
        end = self.tokenizer.eos_token_id
        with torch.inference_mode():
            written = self.model.generate(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, pad_token_id=self.tokenizer.pad_token_id, eos_token_id=end,
            )  # fmt: skip
        new = written[:, inputs["input_ids"].shape[1] :].tolist()
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        cut = [tokens[: tokens.index(end)] if end in tokens else tokens for tokens in new]
        texts = self.tokenizer.batch_decode(cut, skip_special_tokens=True)
        return [Answer(text.strip(), int(length), len(tokens)) for text, length, tokens in zip(texts, lengths, cut, strict=True)]


def load(base: Path, adapter: Path | None = None) -> Generator:
    """The base model, with the adapter merged into it where one is given (a folder of full weights takes the base's place)."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    full = adapter is not None and not (adapter / "adapter_config.json").exists()
    weights = adapter if full else base
    model: Any = AutoModelForCausalLM.from_pretrained(str(weights), dtype="auto", local_files_only=True)
    if adapter is not None and not full:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    model.generation_config = GenerationConfig()  # greedy, whatever sampling the base model's authors prefer
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Generator(model.to(device).eval(), tokenizer_of(base))


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a model folder, padding on the left with a token of its own or the end token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, padding_side="left")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
