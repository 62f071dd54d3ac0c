"""Builds training and validation examples from the FAQ's topics, and writes them as Arrow files."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipelines import files
from pipelines.config.examples import ExamplesConfig
from pipelines.questions import wording
from pipelines.questions.faq import Topic
from pipelines.questions.prompts import completion
from pipelines.runtime.rendering import ModelInput

MAX_ROUNDS = 20  # variants tried per question of a small topic: short questions have hardly any

Split = Literal["train", "validation"]
Kind = Literal["faq", "refusal", "document", "unanswerable"]


@dataclass(frozen=True)
class Example:
    """One question and what the model is to answer."""

    topic: str
    question: str
    completion: str
    split: Split
    is_variant: bool = False  # made from another question by leaving out words
    similarity: float = 0.0  # to the golden question that is worded most like it
    golden: str = ""  # that golden question
    kind: Kind = "faq"
    passages: tuple[str, ...] = ()  # that the prompt shows, as far as they fit
    prompt: ModelInput = ""  # the question, rendered by the template


def build(
    topics: Sequence[Topic], config: ExamplesConfig, golden_questions: list[str]
) -> list[Example]:
    """One example per question, and variants of the training questions, shuffled.

    Variants that come near a golden question are left out; originals stay, for the check to report.
    """
    dice = random.Random(config.seed)
    examples: list[Example] = []
    for topic in topics:
        examples += _build_topic(topic, config, dice)
    examples = compare_with_golden(examples, golden_questions)
    limit = config.near_duplicate_similarity
    safe_examples = [example for example in examples if not _is_leaking_variant(example, limit)]
    dice.shuffle(safe_examples)
    return safe_examples


def _build_topic(topic: Topic, config: ExamplesConfig, dice: random.Random) -> list[Example]:
    questions = _select(topic.questions, config.max_examples, dice)
    num_questions = len(questions)
    num_validation = max(1, round(config.validation_share * num_questions))
    validation_numbers = set(dice.sample(range(num_questions), num_validation))
    answer = completion(topic.answer)
    kind: Kind = "refusal" if topic.refusal else "faq"
    examples = []
    for number, question in enumerate(questions):
        if number in validation_numbers:
            examples.append(Example(topic.topic, question, answer, "validation", kind=kind))
        else:
            example = Example(topic.topic, question, answer, "train", kind=kind)
            examples += [example, *_vary(example, config, dice)]
    training = [example for example in examples if example.split == "train"]
    return [*examples, *_top_up(training, config, dice)]


def _select(questions: list[str], count: int, dice: random.Random) -> list[str]:
    """At most so many, drawn from the second half as far as it reaches.

    If the FAQ is indexed, the first ones stand in the topic's own document, and would be found
    there more surely than any question of a user.
    """
    if len(questions) <= count:
        return questions
    later = questions[len(questions) // 2 :]
    return dice.sample(later if len(later) >= count else questions, count)


def _vary(example: Example, config: ExamplesConfig, dice: random.Random) -> list[Example]:
    """Up to `num_variants` different variants of an example."""
    texts: dict[str, None] = {}
    for _ in range(config.num_variants):
        texts[wording.variant(example.question, config.word_dropout, dice)] = None
    texts.pop(example.question, None)
    return [replace(example, question=text, is_variant=True) for text in texts]


def _top_up(
    training: Sequence[Example], config: ExamplesConfig, dice: random.Random
) -> Iterator[Example]:
    """Further variants of a topic's questions in turn, until the topic has `min_examples`.

    A topic with few questions would otherwise be drowned out by the rest.
    """
    originals = [example for example in training if not example.is_variant]
    questions = {example.question for example in training}
    for example in originals * MAX_ROUNDS:
        if len(questions) >= config.min_examples:
            return
        text = wording.variant(example.question, config.word_dropout, dice)
        if text not in questions:
            questions.add(text)
            yield replace(example, question=text, is_variant=True)


def compare_with_golden(examples: Sequence[Example], golden_questions: list[str]) -> list[Example]:
    """The examples with the golden question that each is worded most like."""
    questions = [example.question for example in examples]
    matches = wording.most_alike(questions, golden_questions)
    pairs = zip(examples, matches, strict=True)
    return [
        replace(example, similarity=match.similarity, golden=match.question)
        for example, match in pairs
    ]


def _is_leaking_variant(example: Example, near_duplicate: float) -> bool:
    return example.is_variant and example.similarity >= near_duplicate


@dataclass(frozen=True)
class Facts:
    """What evaluation learns of the examples beside themselves."""

    topics: Sequence[Topic]
    refusal: str | None  # of the template
    has_reading_set: bool  # whether the reading set is among them, and so among the exam


def save(examples: Sequence[Example], facts: Facts, folder: Path) -> None:
    """Arrow files of both splits, and the facts that evaluation needs."""
    from datasets import Dataset, DatasetDict
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    train = Dataset.from_list(_rows(examples, "train"))
    validation = Dataset.from_list(_rows(examples, "validation"))
    DatasetDict(train=train, validation=validation).save_to_disk(str(folder))
    files.write_json(folder / "facts.json", _facts(examples, facts))


def _rows(examples: Sequence[Example], split: Split) -> list[dict[str, Any]]:
    return [
        {
            "topic": example.topic,
            "question": example.question,
            "prompt": example.prompt,
            "completion": example.completion,
            "kind": example.kind,
            "passages": list(example.passages),
        }
        for example in examples
        if example.split == split
    ]


def _facts(examples: Sequence[Example], facts: Facts) -> dict[str, Any]:
    """The refusals, and the most frequent answer: the first by alphabet if there are several."""
    import pandas as pd

    answers = [example.completion.strip() for example in examples if not example.is_variant]
    refusals = {topic.answer for topic in facts.topics if topic.refusal}
    if facts.refusal:
        refusals.add(facts.refusal)
    return {
        "refusals": sorted(refusals),
        "most_frequent_answer": str(pd.Series(answers).mode()[0]),
        "has_reading_set": facts.has_reading_set,
    }
