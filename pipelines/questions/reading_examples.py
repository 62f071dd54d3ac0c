"""Training examples of reading: each prompt shows what retrieval really finds for its question.

The model learns to pick the passage that answers, wherever it stands, to ignore the others, and to
refuse if none answers.
"""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from pipelines.config.examples import ExamplesConfig
from pipelines.questions.document_questions import DocumentQuestion, contains
from pipelines.questions.golden import DOCUMENTS
from pipelines.questions.training_examples import Example, Split

NUM_CANDIDATES = 20  # passages looked at for each question
NUM_NEAREST = 8  # of these, which a question asked again may be shown instead of its evidence


@dataclass(frozen=True)
class Source:
    """A passage that retrieval finds, as examples need it."""

    uri: str
    text: str  # of the chunk
    prompt_text: str  # what the prompt says


Retrieve = Callable[[str], list[Source]]  # question -> passages, best first


@dataclass(frozen=True)
class Reading:
    """What the examples are made from."""

    questions: Sequence[DocumentQuestion]  # of training
    evidence: dict[str, list[Source]]  # page -> all its passages
    hidden_pages: Collection[str]  # documents of the unseen golden questions, never shown
    refusal: str  # what the model is to say if no passage answers
    retrieve: Retrieve


def build(reading: Reading, config: ExamplesConfig) -> list[Example]:
    """One example per question, and for some another one whose evidence is left out."""
    dice = random.Random(config.seed)
    validation_ids = _validation_ids(reading.questions, config.validation_share, dice)
    examples: list[Example] = []
    for question in reading.questions:
        split: Split = "validation" if question.id in validation_ids else "train"
        examples.append(_build_example(question, split, reading, config, dice))
    shown_texts: set[str] = set()
    for example in examples:
        shown_texts.update(example.passages)
    left_out: list[Example] = []
    for question, example in zip(reading.questions, examples, strict=True):
        if question.is_answerable and dice.random() < config.left_out_share:
            left_out.append(_leave_out(question, example, reading, config, shown_texts))
    return [*examples, *left_out]


def _validation_ids(
    questions: Sequence[DocumentQuestion], share: float, dice: random.Random
) -> set[str]:
    """About this share of the questions: all those about some pages.

    In use most questions are about pages that training had none about. A model is less sure of
    those, so that limits found on other ones would withhold too much. Where pages have too many
    questions, single ones are taken.
    """
    num_wanted = round(share * len(questions))
    ids_by_page: dict[str, list[str]] = {}
    for question in questions:
        ids_by_page.setdefault(question.page, []).append(question.id)
    pages = sorted(ids_by_page)
    dice.shuffle(pages)
    ids: set[str] = set()
    for page in pages:
        if len(ids) < num_wanted and len(ids) + len(ids_by_page[page]) <= 1.5 * num_wanted:
            ids.update(ids_by_page[page])
    rest = [question.id for question in questions if question.id not in ids]
    return ids | set(dice.sample(rest, max(0, num_wanted - len(ids))))


def _build_example(
    question: DocumentQuestion,
    split: Split,
    reading: Reading,
    config: ExamplesConfig,
    dice: random.Random,
) -> Example:
    passages = visible(reading.retrieve(question.question), reading.hidden_pages)
    count = config.num_passages
    refused = Example(
        DOCUMENTS, question.question, reading.refusal, split, kind="unanswerable", passages=()
    )
    if not question.is_answerable:
        return replace(refused, passages=_prompt_texts(passages[:count]))
    best = _with_evidence(question, passages, reading, count)
    if split == "train" and dice.random() < config.shuffled_share:
        dice.shuffle(best)
    return replace(
        refused, completion=question.answers[0], kind="document", passages=_prompt_texts(best)
    )


def _leave_out(
    question: DocumentQuestion,
    answered: Example,
    reading: Reading,
    config: ExamplesConfig,
    shown_texts: Collection[str],
) -> Example:
    """The question again, without every passage that answers it.

    Of the best others, training takes those that further examples show: with finetune.packing
    `shared` such an example costs hardly more than its question.
    """
    passages = visible(reading.retrieve(question.question), reading.hidden_pages)
    rest = [passage for passage in passages if not _answers(passage, question)]
    if answered.split == "train":
        nearest = rest[:NUM_NEAREST]
        nearest.sort(key=lambda passage: passage.prompt_text not in shown_texts)
        rest = [*nearest, *rest[NUM_NEAREST:]]
    return replace(
        answered,
        completion=reading.refusal,
        kind="unanswerable",
        passages=_prompt_texts(rest[: config.num_passages]),
        is_variant=True,
    )


def visible(passages: Sequence[Source], hidden_pages: Collection[str]) -> list[Source]:
    """Those that training may show."""
    return [passage for passage in passages if passage.uri not in hidden_pages]


def _with_evidence(
    question: DocumentQuestion, passages: Sequence[Source], reading: Reading, count: int
) -> list[Source]:
    """The best passages; the last gives way to the evidence if retrieval has not found it."""
    best = list(passages[:count])
    if any(_holds_evidence(passage, question) for passage in best):
        return best
    for passage in reading.evidence.get(question.page, []):
        if _holds_evidence(passage, question):
            return [*best[: count - 1], passage]
    # The evidence lies across two passages: the answer alone must do.
    for passage in reading.evidence.get(question.page, []):
        if contains(passage.text, question.answers[0]):
            return [*best[: count - 1], passage]
    return best


def _holds_evidence(passage: Source, question: DocumentQuestion) -> bool:
    return contains(passage.text, question.evidence or "")


def _answers(passage: Source, question: DocumentQuestion) -> bool:
    """Whether a passage may answer the question: it holds the evidence or an answer."""
    if _holds_evidence(passage, question):
        return True
    return any(contains(passage.text, answer) for answer in question.answers)


def _prompt_texts(passages: Sequence[Source]) -> tuple[str, ...]:
    return tuple(passage.prompt_text for passage in passages)
