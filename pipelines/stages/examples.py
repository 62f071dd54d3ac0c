"""examples: the FAQ becomes training and validation examples, checked by Great Expectations."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import files
from pipelines.config.examples import ExamplesConfig
from pipelines.config.redact import RedactConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.corpus import pii
from pipelines.corpus.quality import Promise, examine
from pipelines.errors import demand_none
from pipelines.questions import consistency, mentions, prompts, training_examples, wording
from pipelines.questions.consistency import Questions
from pipelines.questions.faq import Topic
from pipelines.questions.mentions import Documents
from pipelines.questions.prompts import Prompt
from pipelines.questions.training_examples import Example
from pipelines.runtime import rendering

LEAK_SHOWN = 0.5  # similarity from which a failing question is shown with its golden one


@dataclass(frozen=True)
class Config:
    """The sections of params.yaml."""

    examples: ExamplesConfig
    redact: RedactConfig


@dataclass(frozen=True)
class Inputs:
    """What people wrote, the corpus for templates that show passages, and who will read them."""

    faq: Path
    golden: Path
    prompts: Path
    chunks: Path
    base: Path


@dataclass(frozen=True)
class Outputs:
    """The examples and the report about them, which finetune obeys."""

    examples: Path
    examples_validation: Path


def run(config: Config, inputs: Inputs, outputs: Outputs) -> None:
    """Render every question of every topic. A golden question among them fails the report.

    Raises UserError if the base model cannot read the template, or if FAQ, golden set and documents
    do not fit together.
    """
    template = _load_template(config.examples.template, inputs)
    questions = consistency.read(inputs.faq, inputs.golden)
    _require_consistency(config.examples, inputs.chunks, template, questions)
    topics = questions.faq.topics
    golden_questions = [item.question for item in questions.golden.questions]
    examples = training_examples.build(topics, config.examples, golden_questions)
    passages = _load_passages(template, topics, inputs.chunks, config.examples.num_passages)
    examples = _render(examples, template, passages)
    rows = _describe(examples, pii.load(config.redact))
    report = examine(rows, _promises(config.examples), "examples")
    files.write_json(outputs.examples_validation, report)
    with files.replacing(outputs.examples) as target:
        training_examples.save(examples, topics, target)
        prompts.save(template, target)
    sizes = Counter(example.split for example in examples)
    print(
        f"{len(topics)} topics, {sizes['train']} training and "
        f"{sizes['validation']} validation examples: {report.reason}"
    )


def _load_template(name: str, inputs: Inputs) -> Prompt:
    from transformers import AutoTokenizer

    path = inputs.prompts / f"{name}.yaml"
    template = prompts.load(path)
    tokenizer = AutoTokenizer.from_pretrained(str(inputs.base), local_files_only=True)
    prompts.check_tokenizer(path, template, tokenizer)
    return template


def _require_consistency(
    config: ExamplesConfig, chunks: Path, template: Prompt, questions: Questions
) -> None:
    """Raises UserError with everything for which a model would be trained in vain."""
    uris: set[str] = set()
    for batch in files.batches(chunks, CHUNKS, columns=["uri"]):
        uris.update(batch.column("uri").to_pylist())
    num_passages = {"examples.num_passages": config.num_passages}
    problems = [*questions.problems, *consistency.golden_problems(questions)]
    problems += mentions.problems(questions, Documents(uris))
    problems += consistency.passage_problems(template, num_passages)
    demand_none(problems)


def _load_passages(
    template: Prompt, topics: Sequence[Topic], chunks: Path, count: int
) -> dict[str, list[str]]:
    """The passages of each topic; none for a template that shows none."""
    if not template.shows_passages:
        return {}
    return training_examples.passages_of_topics(topics, files.read(chunks, CHUNKS), count)


def _render(
    examples: Sequence[Example], template: Prompt, passages: dict[str, list[str]]
) -> list[Example]:
    rendered_examples = []
    for example in examples:
        prompt = template.render(example.question, passages.get(example.topic, []))
        completion = template.completion(example.completion)
        rendered_examples.append(replace(example, prompt=prompt, completion=completion))
    return rendered_examples


def _describe(examples: Sequence[Example], redactor: pii.Redactor) -> pd.DataFrame:
    """What the expectations look at: originals alone, since variants repeat them on purpose."""
    originals = [example for example in examples if not example.is_variant]
    topic_sizes = Counter(example.topic for example in originals)
    problems_of_answers: dict[str, str | None] = {}
    rows = []
    for example in originals:
        answer = example.completion
        if answer not in problems_of_answers:
            problems_of_answers[answer] = pii.personal_data_problem(answer, redactor)
        prompt_problem = pii.personal_data_problem(rendering.plain_text(example.prompt), redactor)
        row = _row(example)
        row["topic_questions"] = topic_sizes[example.topic]
        row["personal_data"] = prompt_problem or problems_of_answers[answer]
        if prompt_problem:
            row["uri"] += f": {prompt_problem}"
        elif problems_of_answers[answer]:
            row["uri"] += f": its answer {problems_of_answers[answer]}"
        rows.append(row)
    return pd.DataFrame(rows)


def _row(example: Example) -> dict[str, Any]:
    label = f"{example.topic}: {example.question}"
    if example.similarity > LEAK_SHOWN:
        label += f" ~ golden: {example.golden}"
    return {
        "uri": label,
        "normal": wording.normal(example.question) or example.question,
        "characters": len(example.question.strip()),
        "similarity": example.similarity,
    }


def _promises(config: ExamplesConfig) -> list[Promise]:
    between = "ExpectColumnValuesToBeBetween"
    return [
        Promise(
            "question length in characters",
            between,
            {"column": "characters", "min_value": 2, "max_value": config.max_question_characters},
        ),
        Promise("no question occurs twice", "ExpectColumnValuesToBeUnique", {"column": "normal"}),
        Promise(
            "questions a topic",
            between,
            {"column": "topic_questions", "min_value": config.min_questions},
        ),
        Promise(
            "no golden question in training",
            between,
            {
                "column": "similarity",
                "max_value": config.near_duplicate_similarity,
                "strict_max": True,
            },
        ),
        Promise("no personal data", "ExpectColumnValuesToBeNull", {"column": "personal_data"}),
    ]
