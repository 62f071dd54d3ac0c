"""What every engine of generation shares: prompts under way, answers, the loop over many prompts.

An engine computes a causal language model, greedily: `transformers_engine` by PyTorch,
`openvino_engine` by OpenVINO GenAI. Rows join and leave between two steps (continuous batching, Yu
et al. 2022, "Orca"): a long answer holds nobody up, and a slot that becomes free is used at once.
Evaluation and serving answer by this same code. Computed in fp32, an answer does not depend on the
rows beside it; in bf16 about one in 300 does.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .prompt_tokens import prompt_tokens
from .rendering import ModelInput

MAX_READ_TOKENS = 4096  # of prompts at once: enough for full speed, and the progress bar moves
Precision = Literal["weights", "fp32"]  # as saved, or fp32


class Answer(NamedTuple):
    """A generated text, stripped, its cost in tokens, and how sure the model was."""

    text: str
    num_prompt_tokens: int
    num_new_tokens: int
    # Mean natural logarithm of the probability of each token, the end token included; 0 if there
    # is none.
    mean_log_probability: float


@dataclass(eq=False)
class Row:
    """One prompt under way. Setting `is_stopped` ends it before the next step."""

    prompt: list[int]  # tokens
    max_new_tokens: int
    tokens: list[int] = field(default_factory=list)  # new ones, the end token included
    log_probabilities: list[float] = field(default_factory=list)  # of these
    is_stopped: bool = False

    def append(self, token: int, log_probability: float) -> None:
        self.tokens.append(token)
        self.log_probabilities.append(log_probability)


class Batch(ABC):
    """Rows that are generated together."""

    rows: list[Row]

    @abstractmethod
    def add(self, rows: list[Row]) -> None:
        """Let new rows join."""

    @abstractmethod
    def step(self) -> None:
        """Write one token of each row, as far as its prompt has been read."""

    @abstractmethod
    def leave(self) -> list[Row]:
        """Take out the rows that are complete."""


class Generator(ABC):
    """A loaded model and its tokenizer."""

    tokenizer: Any
    end_tokens: frozenset[int]  # each ends an answer
    # Whether `Batch.add` reads whole prompts while the other rows wait, so that rows had better
    # join together. Otherwise prompts are read in parts beside the others' steps.
    reads_on_joining: bool

    @abstractmethod
    def batch(self) -> Batch:
        """A batch without rows. Only one is in use at a time."""

    def row(self, prompt: ModelInput, max_new_tokens: int) -> Row:
        return Row(prompt_tokens(self.tokenizer, prompt), max_new_tokens)

    def is_complete(self, row: Row) -> bool:
        """Whether a row gets no further token."""
        is_full = len(row.tokens) >= row.max_new_tokens
        return row.is_stopped or is_full or self._has_end(row)

    def read(self, row: Row) -> Answer:
        """The answer of a row, or as much of it as there is."""
        tokens = row.tokens[:-1] if self._has_end(row) else row.tokens
        text = self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        mean = sum(row.log_probabilities) / max(1, len(row.log_probabilities))
        return Answer(text, len(row.prompt), len(tokens), mean)

    def answer(
        self,
        prompts: Sequence[ModelInput],
        max_new_tokens: int,
        batch_size: int,
        progress: str | None = None,
    ) -> list[Answer]:
        """Greedy answers in the order of `prompts`, `batch_size` at once.

        `progress` names a progress bar.
        """
        rows = self.generate_rows(prompts, max_new_tokens, batch_size, progress)
        return [self.read(row) for row in rows]

    def generate_rows(
        self,
        prompts: Sequence[ModelInput],
        max_new_tokens: int,
        batch_size: int,
        progress: str | None = None,
    ) -> list[Row]:
        """The same as `answer`, as rows of tokens."""
        from tqdm import tqdm

        rows = [self.row(prompt, max_new_tokens) for prompt in prompts]
        waiting = deque(sorted(rows, key=lambda row: -len(row.prompt)))
        batch = self.batch()
        # Reading prompts one by one would cost as much as a step each.
        min_joining = max(1, batch_size // 4) if self.reads_on_joining else 1
        is_hidden = progress is None
        # A prompt read counts like an answer: on a CPU, reading long ones takes most of the time.
        with tqdm(
            total=2 * len(rows),
            desc=progress,
            unit=" prompts and answers",
            disable=is_hidden,
            mininterval=1,
        ) as bar:
            while waiting or batch.rows:
                num_free = batch_size - len(batch.rows)
                if waiting and num_free >= min_joining:
                    for group in _groups(waiting, num_free):
                        batch.add(group)
                        bar.update(len(group))
                else:
                    batch.step()
                bar.update(len(batch.leave()))
        return rows

    def _has_end(self, row: Row) -> bool:
        return bool(row.tokens) and row.tokens[-1] in self.end_tokens


def _groups(waiting: deque[Row], num_rows: int) -> Iterator[list[Row]]:
    """Take up to `num_rows` rows, longest first, in groups of at most MAX_READ_TOKENS tokens."""
    num_taken = 0
    while waiting and num_taken < num_rows:
        width = max(1, len(waiting[0].prompt))
        size = min(max(1, MAX_READ_TOKENS // width), num_rows - num_taken, len(waiting))
        yield [waiting.popleft() for _ in range(size)]
        num_taken += size


def end_tokens(configuration: int | list[int] | None, tokenizer: Any) -> frozenset[int]:
    """Those of the model's generation_config.json (`eos_token_id`), and the tokenizer's."""
    tokens = configuration if isinstance(configuration, list) else [configuration]
    return frozenset({token for token in (*tokens, tokenizer.eos_token_id) if token is not None})


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a model folder. It pads on the left, with its own or the end token."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, padding_side="left"
    )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
