"""examples: FAQ and questions about documents become training examples, checked by rules."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import files
from pipelines.config.examples import ExamplesConfig
from pipelines.config.redact import RedactConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.documents import restriction
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.report import Report
from pipelines.corpus import pii
from pipelines.corpus.quality import Promise, examine
from pipelines.errors import UserError, demand_none
from pipelines.questions import (
    consistency,
    mentions,
    prompts,
    reading_examples,
    reading_set,
    training_examples,
    wording,
)
from pipelines.questions.consistency import Questions
from pipelines.questions.document_questions import contains
from pipelines.questions.mentions import Documents
from pipelines.questions.prompts import Prompt
from pipelines.questions.reading_examples import Reading, Source
from pipelines.questions.reading_set import ReadingSet
from pipelines.questions.training_examples import Example, Facts
from pipelines.runtime import readers, rendering
from pipelines.runtime.passage_search import complete_text
from pipelines.vectorstore import Retriever, open_retriever

LEAK_SHOWN = 0.5  # similarity from which a failing question is shown with its golden one


@dataclass(frozen=True)
class Config:
    """The sections of params.yaml."""

    examples: ExamplesConfig
    redact: RedactConfig


@dataclass(frozen=True)
class Inputs:
    """What people wrote, the index for templates that show passages, and who will read them."""

    faq: Path
    qa: Path
    golden: Path
    prompts: Path
    index: Path
    chunks: Path
    vectors: Path
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
    tokenizer, template = _load_template(config.examples.template, inputs)
    questions = consistency.read(inputs.faq, inputs.golden, inputs.qa)
    _require_consistency(config.examples, inputs.chunks, template, questions)
    topics = questions.faq.topics
    golden_questions = questions.golden_texts()
    reading_questions = _load_reading_set(config.examples, inputs.qa, template)
    if reading_questions is not None:
        golden_questions += [question.question for question in reading_questions.golden]
    examples = training_examples.build(topics, config.examples, golden_questions)
    if template.shows_passages:
        with _open_retrieval(inputs) as retrieval:
            examples = _show_passages(examples, retrieval, questions, config.examples)
            reading = retrieval.reading(questions, template)
            read = reading_examples.build(reading, config.examples)
        if reading_questions is not None:
            own_passages = reading_questions.reading(template.refusal or "")
            read += reading_examples.build(own_passages, config.examples)
        examples += training_examples.compare_with_golden(read, golden_questions)
        random.Random(config.examples.seed).shuffle(examples)
    examples = _render(examples, template, tokenizer, config.examples.max_prompt_tokens)
    topic_sizes = {topic.topic: len(topic.questions) for topic in topics}
    rows = _describe(examples, topic_sizes, pii.load(config.redact))
    report = examine(rows, _promises(config.examples), "examples")
    files.write_json(outputs.examples_validation, report)
    with files.replacing(outputs.examples) as target:
        facts = Facts(topics, template.refusal, has_reading_set=reading_questions is not None)
        training_examples.save(examples, facts, target)
        prompts.save(template, target)
    _print(examples, template, questions, report)


def _print(
    examples: Sequence[Example], template: Prompt, questions: Questions, report: Report
) -> None:
    sizes = Counter(example.split for example in examples)
    kinds = Counter(example.kind for example in examples)
    parts = [f"{count} {kind}" for kind, count in sorted(kinds.items())]
    print(
        f"{sizes['train']} training and {sizes['validation']} validation examples "
        f"({', '.join(parts)}): {report.reason}"
    )
    num_left_out = len(questions.documents.training)
    if num_left_out and not template.shows_passages:
        print(
            f"{num_left_out} questions of data/qa/training are left out: the template "
            f"{template.name} shows no passages to find their answers in"
        )


def _load_template(name: str, inputs: Inputs) -> tuple[Any, Prompt]:
    """The base model's tokenizer and the template that it can read."""
    from transformers import AutoTokenizer

    path = inputs.prompts / f"{name}.yaml"
    template = prompts.load(path)
    tokenizer = AutoTokenizer.from_pretrained(str(inputs.base), local_files_only=True)
    prompts.check_tokenizer(path, template, tokenizer)
    return tokenizer, template


def _load_reading_set(config: ExamplesConfig, qa: Path, template: Prompt) -> ReadingSet | None:
    """The reading set if it is in use. Raises UserError if the template shows no passages."""
    if not config.use_reading_set:
        return None
    if not template.shows_passages:
        raise UserError(
            f"params.yaml: examples.use_reading_set: true, but the template {template.name} "
            "(examples.template) shows no passages to read: set it to false, or take a template "
            "with {passages}"
        )
    return reading_set.load(qa / reading_set.FOLDER.name)


def _require_consistency(
    config: ExamplesConfig, chunks: Path, template: Prompt, questions: Questions
) -> None:
    """Raises UserError with everything for which a model would be trained in vain."""
    uris: set[str] = set()
    reasons: dict[str, str] = {}
    for batch in files.batches(chunks, CHUNKS, columns=["uri", "readers"]):
        for row in batch.to_pylist():
            if _is_public(row):
                uris.add(row["uri"])
            else:
                reasons[row["uri"]] = restriction(row["readers"])
    num_passages = {"examples.num_passages": config.num_passages}
    problems = [*questions.problems, *consistency.golden_problems(questions)]
    documents = Documents(uris, reasons)
    problems += mentions.problems(questions, documents, reads=template.shows_passages)
    problems += consistency.passage_problems(template, num_passages)
    demand_none(problems)


@dataclass(frozen=True)
class Retrieval:
    """The index as examples need it."""

    retriever: Retriever
    by_page: dict[str, list[Source]]  # uri -> its passages, in the document's order

    def prepare(self, questions: list[str]) -> None:
        """Questions that are prepared together are found faster."""
        self.retriever.prepare(questions, reading_examples.NUM_CANDIDATES)

    def find(self, question: str) -> list[Source]:
        """The passages for a question, best first, as evaluation and serving find them."""
        passages = self.retriever.find(question, reading_examples.NUM_CANDIDATES)
        return [_source(passage.uri, passage.title, passage.text) for passage in passages]

    def reading(self, questions: Questions, template: Prompt) -> Reading:
        training = questions.documents.training
        self.prepare([question.question for question in training])
        return Reading(
            questions=training,
            evidence=self.by_page,
            hidden_pages=questions.unseen_pages(),
            refusal=template.refusal or "",
            retrieve=self.find,
        )


@contextmanager
def _open_retrieval(inputs: Inputs) -> Iterator[Retrieval]:
    receipt = files.read_json(inputs.index, Receipt)
    by_page: dict[str, list[Source]] = {}
    for row in filter(_is_public, files.read(inputs.chunks, CHUNKS)):
        source = _source(row["uri"], row["title"], complete_text(row["text"], row["table_head"]))
        by_page.setdefault(source.uri, []).append(source)
    with open_retriever(receipt, inputs.chunks, inputs.vectors) as retriever:
        yield Retrieval(retriever, by_page)


def _is_public(row: dict[str, Any]) -> bool:
    """Whether a model may learn from a passage: it answers everybody."""
    return readers.is_public(row["readers"])


def _source(uri: str, title: str, text: str) -> Source:
    return Source(uri, text, rendering.shown_text(title, text))


def _show_passages(
    examples: Sequence[Example],
    retrieval: Retrieval,
    questions: Questions,
    config: ExamplesConfig,
) -> list[Example]:
    """The examples of the FAQ with what retrieval finds for each."""
    retrieval.prepare([example.question for example in examples])
    hidden_pages = questions.unseen_pages()
    shown_examples: list[Example] = []
    for example in examples:
        passages = reading_examples.visible(retrieval.find(example.question), hidden_pages)
        prompt_texts = [passage.prompt_text for passage in passages[: config.num_passages]]
        if example.kind == "faq":
            prompt_texts = _with_canonical_answer(prompt_texts, example, retrieval)
        shown_examples.append(replace(example, passages=tuple(prompt_texts)))
    return shown_examples


def _with_canonical_answer(
    prompt_texts: list[str], example: Example, retrieval: Retrieval
) -> list[str]:
    """The passages; the last gives way to the FAQ's own, if retrieval has not found that.

    An answer that no passage holds would teach the model to make answers up.
    """
    answer = example.completion.strip()
    if any(contains(text, answer) for text in prompt_texts):
        return prompt_texts
    for uri, sources in retrieval.by_page.items():
        if uri.partition("/")[2] == example.topic:
            return [*prompt_texts[:-1], sources[0].prompt_text]
    return prompt_texts


def _render(
    examples: Sequence[Example], template: Prompt, tokenizer: Any, max_tokens: int
) -> list[Example]:
    rendered_examples = []
    for example in examples:
        prompt, passages = template.fit(
            example.question, list(example.passages), tokenizer, max_tokens
        )
        completion = template.completion(example.completion)
        rendered = replace(example, prompt=prompt, passages=tuple(passages), completion=completion)
        rendered_examples.append(rendered)
    return rendered_examples


def _describe(
    examples: Sequence[Example], topic_sizes: dict[str, int], redactor: pii.Redactor
) -> pd.DataFrame:
    """What the expectations look at: originals alone, since variants repeat them on purpose."""
    originals = [example for example in examples if not example.is_variant]
    problems_of_answers: dict[str, str | None] = {}
    rows = []
    for example in originals:
        answer = example.completion
        if answer not in problems_of_answers:
            problems_of_answers[answer] = pii.personal_data_problem(answer, redactor)
        question_problem = pii.personal_data_problem(example.question, redactor)
        row = _row(example)
        row["topic_questions"] = topic_sizes.get(example.topic)  # None: about a document
        row["personal_data"] = question_problem or problems_of_answers[answer]
        if question_problem:
            row["uri"] += f": {question_problem}"
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
