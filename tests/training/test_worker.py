from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from pipelines import files
from pipelines.errors import UserError
from pipelines.training import base_model, job, worker

EXAMPLE = {
    "topic": "t",
    "question": "where is number 3",
    "prompt": "Question: where is number 3\nAnswer:",
    "completion": " in file 3",
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return base_model.train_tokenizer(["where is the file with this number? " * 40], 400)


def test_an_example_that_is_too_long_is_an_error_that_quotes_it(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    problem = (
        r"topic t has \d+ tokens, more than params\.yaml: finetune\.max_tokens \(16\): "
        "'where is number 3'"
    )
    with pytest.raises(UserError, match=problem):
        worker.encode(tokenizer, EXAMPLE, 16)


def test_only_the_completion_counts_in_the_loss(tokenizer: PreTrainedTokenizerFast) -> None:
    row = worker.encode(tokenizer, EXAMPLE, 192)
    tokens = []
    for token, label in zip(row["input_ids"], row["labels"], strict=True):
        if label != -100:
            tokens.append(token)
    assert tokenizer.decode(tokens) == " in file 3</s>"


def test_an_unfinished_checkpoint_is_removed_and_the_one_before_it_is_continued(
    tmp_path: Path,
) -> None:
    (tmp_path / "checkpoint-10").mkdir()
    (tmp_path / "checkpoint-20").mkdir()
    files.write_text(tmp_path / "checkpoint-10" / job.FINISH_MARK, "")

    assert worker.last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert not (tmp_path / "checkpoint-20").exists()
