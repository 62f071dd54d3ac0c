from pathlib import Path

import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.finetune import FinetuneConfig
from pipelines.contracts.report import Check, Report
from pipelines.errors import UserError
from pipelines.questions import training_examples
from pipelines.questions.faq import Topic
from pipelines.questions.training_examples import Example, Facts
from pipelines.stages.finetune import Inputs, Outputs, run
from pipelines.training import base_model

LONG = "why did the gate refuse the model that we made of all documents in the archive"


def test_an_example_that_is_too_long_stops_the_stage_before_anything_is_started(
    tmp_path: Path,
) -> None:
    config = params.load().section(FinetuneConfig).model_copy(update={"max_tokens": 24})
    tokenizer = base_model.train_tokenizer(["why did the gate refuse the model? " * 9], 300)
    tokenizer.save_pretrained(tmp_path / "base")
    check = Check(name="any", passed=True, observed="", expected="")
    files.write_json(tmp_path / "report.json", Report.of([check]))
    topic = Topic(topic="gate", page="gate.md", answer="Read it.", questions=["why"])
    examples = [
        Example("gate", "why", " Read it.", "train", prompt="Q: why\nA:"),
        Example("gate", LONG, " Read it.", "train", prompt=f"Q: {LONG}\nA:"),
        Example("gate", "how", " Read it.", "validation", prompt="Q: how\nA:"),
    ]
    facts = Facts([topic], refusal=None, has_reading_set=False)
    training_examples.save(examples, facts, tmp_path / "examples")
    inputs = Inputs(tmp_path / "base", tmp_path / "examples", tmp_path / "report.json")
    outputs = Outputs(tmp_path / "adapter", tmp_path / "training")
    with pytest.raises(UserError) as caught:
        run(config, inputs, outputs)
    message = str(caught.value)
    assert message.startswith(
        "params.yaml: finetune.max_tokens: 24, but 1 of 3 examples are longer"
    )
    assert f"of topic gate: {LONG[:80]!r}. Set it to " in message
    assert not outputs.adapter.exists()
