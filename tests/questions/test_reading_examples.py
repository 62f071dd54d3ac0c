from typing import Any

from pipelines.config.examples import ExamplesConfig
from pipelines.questions import reading_examples
from pipelines.questions.document_questions import DocumentQuestion
from pipelines.questions.reading_examples import Reading, Source
from pipelines.questions.training_examples import Example

CONFIG = ExamplesConfig(
    template="grounded-v1",
    num_variants=0,
    word_dropout=0.1,
    min_examples=0,
    max_examples=100,
    num_passages=2,
    shuffled_share=0.0,
    left_out_share=0.0,
    max_prompt_tokens=1000,
    use_reading_set=False,
    validation_share=0.1,
    min_questions=1,
    max_question_characters=100,
    near_duplicate_similarity=0.75,
    seed=7,
)
STRIPES = Source("zoo.md", "The zebra has black stripes.", "Zoo: The zebra has black stripes.")
SLEEP = Source("zoo.md", "The zebra sleeps.", "Zoo: The zebra sleeps.")
FARM = Source("farm.md", "The cow has spots.", "Farm: The cow has spots.")
BLACK = Source("farm.md", "The horse has black stripes too.", "Farm: The horse has black stripes.")
SECRET = Source("secret.md", "The keeper is Ada.", "Secret: The keeper is Ada.")


def question(number: int = 1, **changes: Any) -> DocumentQuestion:
    values: dict[str, Any] = {
        "id": f"zoo-{number:03d}",
        "question": f"What does the zebra have, number {number}?",
        "answers": ["black stripes", "stripes"],
        "evidence": "The zebra has black stripes.",
        "page": "zoo.md",
        "style": "plain",
    }
    return DocumentQuestion.model_validate(values | changes)


def build(
    questions: list[DocumentQuestion], candidates: list[Source], **changes: Any
) -> list[Example]:
    """The examples if retrieval finds these candidates for every question."""
    reading = Reading(
        questions=questions,
        evidence={"zoo.md": [SLEEP, STRIPES]},
        hidden_pages={"secret.md"},
        refusal="Not there.",
        retrieve=lambda _: candidates,
    )
    return reading_examples.build(reading, CONFIG.model_copy(update=changes))


def test_an_example_shows_the_best_passages_and_gives_the_best_answer() -> None:
    (example,) = build([question()], [FARM, STRIPES, SLEEP])
    assert example.passages == (FARM.prompt_text, STRIPES.prompt_text)
    assert (example.completion, example.kind) == ("black stripes", "document")
    assert (example.topic, example.split) == ("documents", "train")


def test_evidence_that_retrieval_has_missed_takes_the_place_of_the_last_passage() -> None:
    (example,) = build([question()], [FARM, SLEEP])
    assert example.passages == (FARM.prompt_text, STRIPES.prompt_text)


def test_evidence_across_two_passages_gives_way_to_the_passage_that_holds_the_answer() -> None:
    long_evidence = "The zebra sleeps. The zebra has black stripes."
    (example,) = build([question(evidence=long_evidence)], [FARM, SLEEP])
    assert example.passages == (FARM.prompt_text, STRIPES.prompt_text)


def test_documents_of_the_exam_are_never_shown() -> None:
    (example,) = build([question()], [SECRET, FARM, STRIPES])
    assert example.passages == (FARM.prompt_text, STRIPES.prompt_text)


def test_an_unanswerable_question_is_refused_whatever_is_shown() -> None:
    (example,) = build([question(answers=[], evidence=None)], [STRIPES, FARM, SLEEP])
    assert (example.completion, example.kind) == ("Not there.", "unanswerable")
    assert example.passages == (STRIPES.prompt_text, FARM.prompt_text)


def test_a_question_asked_again_without_every_passage_that_answers_is_refused() -> None:
    candidates = [STRIPES, BLACK, FARM, SLEEP]
    answered, refused = build([question()], candidates, left_out_share=1.0)
    assert answered.completion == "black stripes"
    assert (refused.completion, refused.kind) == ("Not there.", "unanswerable")
    assert refused.passages == (FARM.prompt_text, SLEEP.prompt_text)
    assert refused.question == answered.question
    assert (answered.is_variant, refused.is_variant) == (False, True)


def test_a_question_asked_again_is_shown_what_training_shows_anyway() -> None:
    about_cows = question(2, page="farm.md", evidence=FARM.text, answers=["spots"])
    candidates = {"1": [STRIPES, SLEEP, FARM], "2": [FARM, SLEEP]}
    reading = Reading(
        questions=[question(1), about_cows],
        evidence={},
        hidden_pages=set(),
        refusal="Not there.",
        retrieve=lambda text: candidates[text.rpartition(" ")[2].rstrip("?")],
    )
    changes = {"num_passages": 1, "left_out_share": 1.0, "validation_share": 0.0}
    examples = reading_examples.build(reading, CONFIG.model_copy(update=changes))
    assert [example.completion for example in examples[:2]] == ["black stripes", "spots"]
    assert examples[2].passages == (FARM.prompt_text,)  # SLEEP is nearer, and no example shows it
    assert examples[3].passages == (SLEEP.prompt_text,)


def test_a_share_of_the_training_prompts_and_no_validation_prompt_is_shuffled() -> None:
    questions = [question(number) for number in range(200)]
    examples = build(questions, [STRIPES, FARM], shuffled_share=1.0, validation_share=0.4)
    orders: dict[str, set[tuple[str, ...]]] = {"train": set(), "validation": set()}
    for example in examples:
        orders[example.split].add(example.passages)
    in_order = (STRIPES.prompt_text, FARM.prompt_text)
    assert orders == {"train": {in_order, in_order[::-1]}, "validation": {in_order}}
    unshuffled = build(questions, [STRIPES, FARM], shuffled_share=0.0)
    assert {example.passages for example in unshuffled} == {in_order}


def test_shares_are_kept_and_the_same_seed_gives_the_same_examples() -> None:
    questions = [question(number) for number in range(400)]
    examples = build(questions, [STRIPES, FARM], left_out_share=0.3, validation_share=0.1)
    assert examples == build(questions, [STRIPES, FARM], left_out_share=0.3, validation_share=0.1)
    num_left_out = sum(example.is_variant for example in examples)
    assert 90 <= num_left_out <= 150  # 0.3 of 400, three standard deviations to each side
    validation_questions = {item.question for item in examples if item.split == "validation"}
    training_questions = {item.question for item in examples if item.split == "train"}
    assert len(validation_questions) == 40
    assert validation_questions.isdisjoint(training_questions)


def test_validation_takes_whole_pages_so_that_training_has_no_question_about_them() -> None:
    questions = []
    for number in range(100):
        page = f"page-{number // 5}.md"
        questions.append(question(number, page=page))
    examples = build(questions, [STRIPES, FARM], validation_share=0.2)
    splits: dict[str, set[str]] = {}
    for item, example in zip(questions, examples, strict=True):
        splits.setdefault(item.page, set()).add(example.split)
    validation_pages = [page for page, names in splits.items() if names == {"validation"}]
    assert len(validation_pages) == 4
    assert [page for page, names in splits.items() if len(names) == 2] == []
