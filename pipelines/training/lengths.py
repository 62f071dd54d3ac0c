"""Whether every example, and every answer, fits into the numbers of tokens of params.yaml."""

from collections.abc import Iterable, Iterator
from typing import Any

from pipelines.runtime.prompt_tokens import answer_tokens, prompt_tokens

STEP = 64  # tokens: a value that would do is the next multiple
MAX_CHARACTERS = 80  # of a question in a message


def example_problems(
    tokenizer: Any, rows: Iterable[dict[str, Any]], max_tokens: int
) -> Iterator[str]:
    """Why these examples cannot be trained on; nothing if all have at most `max_tokens` tokens.

    `rows` are those of the data set: topic, question, prompt and completion. The message names the
    longest, and a value that would do.
    """
    num_rows = 0
    num_long = 0
    longest: dict[str, Any] = {}
    most_tokens = 0
    for row in rows:
        num_rows += 1
        num_tokens = len(prompt_tokens(tokenizer, row["prompt"]))
        num_tokens += len(answer_tokens(tokenizer, row["completion"]))
        num_long += num_tokens > max_tokens
        if num_tokens > most_tokens:
            longest = row
            most_tokens = num_tokens
    if num_long == 0:
        return
    question = longest["question"][:MAX_CHARACTERS]
    yield (
        f"params.yaml: finetune.max_tokens: {max_tokens}, but {num_long} of {num_rows} examples "
        f"are longer. The longest has {most_tokens} tokens, of topic {longest['topic']}: "
        f"{question!r}. Set it to {_value_that_does(most_tokens)}, or shorten the answer or the "
        "prompt"
    )


def answer_problems(tokenizer: Any, answers: dict[str, str], max_new_tokens: int) -> Iterator[str]:
    """Why a model could never give one of these answers whole; nothing if it could.

    `answers`: label, such as file and topic, -> answer.
    """
    most_tokens = 0
    longest = ""
    for label, answer in answers.items():
        num_tokens = len(answer_tokens(tokenizer, answer))
        if num_tokens > most_tokens:
            most_tokens = num_tokens
            longest = label
    if most_tokens <= max_new_tokens:
        return
    yield (
        f"{longest}: answer: has {most_tokens} tokens, more than params.yaml: "
        f"evaluate.max_new_tokens ({max_new_tokens}), so no model could give it whole: set it (and "
        f"export.max_new_tokens) to {_value_that_does(most_tokens)}, or shorten the answer"
    )


def _value_that_does(num_tokens: int) -> int:
    return -(-num_tokens // STEP) * STEP
