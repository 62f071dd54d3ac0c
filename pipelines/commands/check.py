"""`python -m pipelines check`: everything that people write, checked without running anything."""

import datetime
import importlib
from pathlib import Path

from pipelines import faq, gate, golden, graph, ledger, prompts
from pipelines.config import params
from pipelines.errors import UserError


def run() -> None:
    """Print a line a file that is good. Raises UserError at the first that is not."""
    values = params.load()
    print("params.yaml: good")
    stages = graph.read()
    for name, stage in stages.items():
        stage.artifacts()
        for section in stage.params:
            values.section(section)
        try:
            importlib.import_module(f"pipelines.stages.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"pipelines.stages.{name}":
                raise
            raise UserError(f"dvc.yaml: stage {name} has no pipelines/stages/{name}.py") from error
    print(f"dvc.yaml: {len(stages)} stages")
    topics, questions = faq.load(Path("data/faq")), golden.load(Path("data/golden"))
    print(f"data/faq: {len(topics)} topics, {sum(len(topic.questions) for topic in topics)} questions")
    print(f"data/golden: {len(questions)} questions")
    few = [topic.topic for topic in topics if len(topic.questions) < values.examples.min_questions]
    if few:
        raise UserError(f"data/faq: topic {few[0]}: has fewer than examples.min_questions ({values.examples.min_questions}) questions")
    for path in sorted(Path("data/prompts").glob("*.yaml")):
        prompts.load(path)
    prompts.load(Path("data/prompts") / f"{values.examples.template}.yaml")
    print("data/prompts: good")
    gate.read_overrides(Path("data/overrides.yaml"), "", datetime.date.today())
    print(f"data/overrides.yaml: good; ledger: {len(ledger.read())} events, unbroken")
