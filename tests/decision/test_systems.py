from pathlib import Path
from typing import Any, cast

import numpy as np

from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.scores import BASE, CANDIDATE, FREQUENT, NEAREST
from pipelines.decision import systems
from pipelines.decision.systems import Case, Model, NearestSentence, Reply
from pipelines.questions.golden import Golden
from pipelines.questions.prompts import Prompt
from pipelines.runtime.generation import Answer
from pipelines.runtime.withholding import Limits
from pipelines.vectorstore import Encoder, Passage

CONFIG = EvaluateConfig(
    top_k=5,
    num_passages=2,
    max_prompt_tokens=1000,
    max_new_tokens=8,
    batch_size=2,
    precision="fp32",
    num_base_questions=150,
    num_resamples=200,
    grounded_similarity=0.9,
    seed=7,
)
QUESTION = Golden(
    id="zoo-1",
    question="zebra",
    expected="stripes",
    topic="documents",
    page="zoo.md",
    kind="document",
    style="plain",
)
PASSAGES = [
    Passage("c-1", "farm.md", [], "A cow. A horse.", 0.9, title="Farm"),
    Passage("c-2", "zoo.md", [], "A lion. A zebra has stripes.", 0.8),
    Passage("c-3", "zoo.md", [], "zebra", 0.7),
]
LIMITS = Limits(refusal="Not there.", min_support=0.75, min_log_probability=-0.5)


class ZebraEncoder:
    """Texts are alike if both or neither speak of zebras."""

    def lookup(self, texts: list[str]) -> dict[str, Any]:
        vectors: dict[str, Any] = {}
        for text in texts:
            vectors[text] = np.eye(2)[int("zebra" in text)]
        return vectors


def model(template: Prompt, limits: Limits | None) -> Model:
    return Model(
        name="candidate",
        base=Path("base"),
        adapter=Path("adapter"),
        template=template,
        engine="transformers",
        limits=limits,
        refusals=("I cannot help.", "Not there."),
    )


GROUNDED = Prompt(
    name="g", description="", prompt="{passages}{question}", passage="{text}", refusal="Not there."
)
PLAIN = Prompt(name="p", description="", prompt="{question}", passage="")


def test_a_passage_is_shown_under_the_title_of_its_document() -> None:
    shown = Case(QUESTION, PASSAGES).prompt_texts(2)
    assert shown == ["Farm: A cow. A horse.", "A lion. A zebra has stripes."]


def test_an_answer_that_does_not_reach_the_limits_is_withheld_and_kept_for_people() -> None:
    candidate = model(GROUNDED, LIMITS)
    shown = ["A zebra has stripes."]
    good = Answer("has stripes", 9, 4, -0.1)
    assert candidate._check(good, shown) == Reply(good)
    unsure = candidate._check(good._replace(mean_log_probability=-0.9), shown)
    assert (unsure.answer.text, unsure.withheld) == ("Not there.", "has stripes")
    unsupported = candidate._check(good._replace(text="has spots"), shown)
    assert (unsupported.answer.text, unsupported.withheld) == ("Not there.", "has spots")


def test_a_refusal_is_never_withheld_and_nothing_is_without_limits() -> None:
    refusal = Answer("I cannot help", 9, 4, -9.0)
    assert model(GROUNDED, LIMITS)._check(refusal, []) == Reply(refusal)
    nonsense = Answer("has spots", 9, 4, -9.0)
    assert model(PLAIN, None)._check(nonsense, []) == Reply(nonsense)


def test_the_nearest_sentence_of_the_shown_passages_is_what_retrieval_alone_would_say() -> None:
    system = NearestSentence(cast(Encoder, ZebraEncoder()))
    (reply,) = system.answer([Case(QUESTION, PASSAGES)], CONFIG)
    assert reply == Reply(Answer("A zebra has stripes.", 0, 0, 0.0))


def test_the_base_model_is_measured_without_limits_and_retrieval_alone_if_passages_are_shown() -> (
    None
):
    encoder = cast(Encoder, ZebraEncoder())
    grounded = systems.select(model(GROUNDED, LIMITS), "No.", None, encoder)
    assert list(grounded) == [CANDIDATE, BASE, FREQUENT, NEAREST]
    base = grounded[BASE]
    assert isinstance(base, Model)
    assert (base.name, base.adapter, base.limits) == (BASE, None, None)
    plain = systems.select(model(PLAIN, None), "No.", None, encoder)
    assert list(plain) == [CANDIDATE, BASE, FREQUENT]
    assert plain[FREQUENT].answer([Case(QUESTION, [])], CONFIG) == [Reply(Answer("No.", 0, 0, 0.0))]


def test_the_base_model_is_asked_an_even_sample_and_every_other_system_each_question() -> None:
    cases = []
    for number in range(400):
        cases.append(Case(QUESTION.model_copy(update={"id": f"{number:03}"}), []))
    asked = systems.questions_of(BASE, cases, CONFIG)
    numbers = [int(case.question.id) for case in asked]
    assert len(numbers) == len(set(numbers)) == 150
    assert (numbers[0], numbers[75], numbers[-1]) == (0, 200, 397)
    assert systems.questions_of(CANDIDATE, cases, CONFIG) == cases
    assert systems.questions_of(BASE, cases[:150], CONFIG) == cases[:150]
