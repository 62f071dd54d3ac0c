"""Check params.yaml, dvc.yaml, FAQ, golden set, prompts and overrides without running anything."""

import datetime
import importlib
from collections.abc import Sequence
from pathlib import Path

from pipelines import graph
from pipelines.config import params
from pipelines.config.examples import ExamplesConfig
from pipelines.config.params import Params
from pipelines.decision import gate_overrides, ledger
from pipelines.errors import UserError
from pipelines.questions import faq, golden, prompts
from pipelines.questions.faq import Topic

FAQ = Path("data/faq")
GOLDEN = Path("data/golden")
PROMPTS = Path("data/prompts")
OVERRIDES = Path("data/overrides.yaml")


def run() -> None:
    """Print a line for each file that is good. Raises UserError at the first that is not."""
    values = params.load()
    print("params.yaml: good")
    print(f"dvc.yaml: {_check_stages(values)} stages")
    topics = faq.load(FAQ)
    num_questions = sum(len(topic.questions) for topic in topics)
    print(f"{FAQ}: {len(topics)} topics, {num_questions} questions")
    print(f"{GOLDEN}: {len(golden.load(GOLDEN))} questions")
    config = values.section(ExamplesConfig)
    _check_topic_sizes(topics, config.min_questions)
    for path in sorted(PROMPTS.glob("*.yaml")):
        prompts.load(path)
    prompts.load(PROMPTS / f"{config.template}.yaml")
    print(f"{PROMPTS}: good")
    gate_overrides.read(OVERRIDES, "", datetime.date.today())
    print(f"{OVERRIDES}: good; ledger: {len(ledger.read())} events, unbroken")


def _check_stages(values: Params) -> int:
    """The number of stages. Raises UserError if one names an unknown section or has no module."""
    stages = graph.read()
    for name, stage in stages.items():
        stage.inputs()
        stage.outputs()
        for section in stage.params:
            values.named(section)
        module = f"pipelines.stages.{name}"
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise UserError(
                f"dvc.yaml: stage {name} has no module: write pipelines/stages/{name}.py"
            ) from error
    return len(stages)


def _check_topic_sizes(topics: Sequence[Topic], min_questions: int) -> None:
    for topic in topics:
        if len(topic.questions) < min_questions:
            raise UserError(
                f"{FAQ}: topic {topic.topic}: has {len(topic.questions)} questions, fewer than "
                f"examples.min_questions ({min_questions}): add more"
            )
