import re

import pytest
from transformers import PreTrainedTokenizerFast

from pipelines.training import base_model, lengths, worker

ROWS = [
    {"topic": "t", "question": "where", "prompt": "Q: where\nA:", "completion": " in file 3"},
    {
        "topic": "long",
        "question": "where is number 3 and number 4 and number 5",
        "prompt": "Q: where is number 3 and number 4 and number 5\nA:",
        "completion": " in file 3, in file 4, and in file 5",
    },
    {"topic": "u", "question": "what", "prompt": "Q: what is number 3\nA:", "completion": " it"},
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return base_model.train_tokenizer(["where is the file with this number? " * 40], 400)


def num_tokens(tokenizer: PreTrainedTokenizerFast, number: int) -> int:
    return len(worker.encode(tokenizer, ROWS[number], 10_000)["input_ids"])


def test_the_longest_example_is_named_with_a_value_that_does(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    most = num_tokens(tokenizer, 1)
    limit = num_tokens(tokenizer, 0) - 1
    (problem,) = lengths.example_problems(tokenizer, ROWS, limit)
    assert problem.startswith(
        f"params.yaml: finetune.max_tokens: {limit}, but 3 of 3 examples are longer. The longest "
        f"has {most} tokens, of topic long: 'where is number 3 and number 4 and number 5'. Set it "
    )
    value = int(re.findall(r"Set it to (\d+)", problem)[0])
    assert most <= value < most + lengths.STEP
    assert list(lengths.example_problems(tokenizer, ROWS, value)) == []


def test_examples_as_long_as_the_limit_are_good(tokenizer: PreTrainedTokenizerFast) -> None:
    assert list(lengths.example_problems(tokenizer, ROWS, num_tokens(tokenizer, 1))) == []


def test_the_longest_answer_is_named_if_no_model_could_give_it_whole(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    answers = {"faq/a.yaml: topic t": " in file 3", "faq/a.yaml: topic long": " in file 3" * 9}
    (problem,) = lengths.answer_problems(tokenizer, answers, 20)
    assert problem.startswith("faq/a.yaml: topic long: answer: has ")
    assert "more than params.yaml: evaluate.max_new_tokens (20)" in problem
    assert list(lengths.answer_problems(tokenizer, answers, 1000)) == []
