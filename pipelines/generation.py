"""Knows how a causal language model answers: loads base and adapter, generates greedily in batches.

The export copies this file into the Triton model, so that evaluation and serving answer by the same code: it imports nothing of ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """A generated text, stripped, and its cost in tokens."""

    text: str
    num_prompt_tokens: int
    num_new_tokens: int


# Called after each step with every row's tokens so far; says which rows are to stop.
Watch = Callable[[list[list[int]]], list[bool]]


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
                answers = self.batch([prompts[place] for place in places], max_new_tokens)
                found.update(zip(places, answers, strict=True))
                bar.update(len(places))
        return [found[place] for place in range(len(prompts))]

    def batch(self, prompts: list[str], max_new_tokens: int, watch: Watch | None = None) -> list[Answer]:
        """Greedy answers of one batch. With `watch`, tokens can be seen as they come and rows be stopped early."""
        import torch

        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True).to(self.model.device)
        end = self.tokenizer.eos_token_id
        lengths: dict[int, int] = {}  # rows that `watch` stopped, with their number of tokens
        criteria = None if watch is None else [_Watching(watch, inputs["input_ids"].shape[1], lengths)]
        with torch.inference_mode():
            written = self.model.generate(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, pad_token_id=self.tokenizer.pad_token_id, eos_token_id=end, stopping_criteria=criteria,
            )  # fmt: skip
        new = written[:, inputs["input_ids"].shape[1] :].tolist()
        given = inputs["attention_mask"].sum(dim=1).tolist()
        stopped = [tokens[: lengths.get(row, len(tokens))] for row, tokens in enumerate(new)]
        cut = [tokens[: tokens.index(end)] if end in tokens else tokens for tokens in stopped]
        texts = self.tokenizer.batch_decode(cut, skip_special_tokens=True)
        return [Answer(text.strip(), int(length), len(tokens)) for text, length, tokens in zip(texts, given, cut, strict=True)]


class _Watching:
    """Transformers' stopping criterion that shows the rows' new tokens to `watch` and stops those that it names."""

    def __init__(self, watch: Watch, start: int, lengths: dict[int, int]):
        self._watch, self._start, self._lengths = watch, start, lengths

    def __call__(self, input_ids: Any, scores: Any, **options: Any) -> Any:
        import torch

        rows = input_ids[:, self._start :].tolist()
        for row, stop in enumerate(self._watch(rows)):
            if stop:
                self._lengths.setdefault(row, len(rows[row]))
        return torch.tensor([row in self._lengths for row in range(len(rows))], device=input_ids.device)


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
