from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import tokenizers
from transformers import PreTrainedTokenizerFast

from pipelines import files
from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.scores import BASE, CANDIDATE, FREQUENT, NEAREST
from pipelines.decision import systems
from pipelines.decision.systems import Case, Model, NearestSentence, Reply
from pipelines.questions.golden import Golden
from pipelines.questions.prompts import Prompt
from pipelines.runtime import generation, rendering
from pipelines.runtime.generation import Answer
from pipelines.runtime.withholding import Limits
from pipelines.system import cache, paths
from pipelines.vectorstore import Encoder, Passage

CONFIG = EvaluateConfig(
    top_k=5,
    num_passages=2,
    max_readings=1,
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
    shown = systems.prompt_texts(Case(QUESTION, PASSAGES).reading(0, 2))
    assert shown == ["Farm: A cow. A horse.", "A lion. A zebra has stripes."]


def test_an_answer_that_does_not_reach_the_limits_is_withheld_and_kept_for_people() -> None:
    candidate = model(GROUNDED, LIMITS)
    shown = [Passage("c-1", "zoo.md", [], "A zebra has stripes.", 0.9)]
    good = Answer("has stripes", 9, 4, -0.1)
    assert candidate._check(good, shown) == Reply(good, shown)
    unsure = candidate._check(good._replace(mean_log_probability=-0.9), shown)
    assert (unsure.answer.text, unsure.withheld) == ("Not there.", "has stripes")
    unsupported = candidate._check(good._replace(text="has spots"), shown)
    assert (unsupported.answer.text, unsupported.withheld) == ("Not there.", "has spots")


def test_a_refusal_is_never_withheld_and_nothing_is_without_limits() -> None:
    refusal = Answer("I cannot help", 9, 4, -9.0)
    assert model(GROUNDED, LIMITS)._check(refusal, []) == Reply(refusal, [])
    nonsense = Answer("has spots", 9, 4, -9.0)
    assert model(PLAIN, None)._check(nonsense, []) == Reply(nonsense, [])


def test_a_model_reads_on_while_the_passages_do_not_answer(clone: Path) -> None:
    config = CONFIG.model_copy(update={"num_passages": 1})
    passages: list[Passage] = []
    for text in ("a cow", "a lion", "a fish has stripes"):
        passages.append(Passage(text, "zoo.md", [], text, 0.9))
    case = Case(QUESTION, passages)
    write_tokenizer(clone / "base")
    files.write_text(clone / "adapter/adapter.json", "{}")
    once = model(GROUNDED, LIMITS)
    texts = ["Not there", "has spots", "has stripes"]  # the second one is unsupported
    keep_answers(once, case, dict(zip(range(3), texts, strict=True)), config)

    (reply,) = once.answer([case], config)
    assert (reply.answer.text, reply.passages) == ("Not there", passages[:1])
    (refused,) = replace(once, max_readings=2).answer([case], config)
    assert (refused.answer.text, refused.passages) == ("Not there", passages[:1])
    assert (refused.answer.num_prompt_tokens, refused.answer.num_new_tokens) == (20, 4)
    answered, sure = replace(once, max_readings=9).answer(
        [case, Case(QUESTION, passages[2:])], config
    )
    assert (answered.answer.text, answered.passages) == ("has stripes", passages[2:])
    assert (answered.answer.num_prompt_tokens, sure.answer.num_prompt_tokens) == (30, 10)


def keep_answers(asked: Model, case: Case, texts: dict[int, str], config: EvaluateConfig) -> None:
    """Put the answer of each reading among those that are kept, so that no model is loaded."""
    tokenizer = generation.tokenizer_of(asked.base)
    values: dict[str, list[object]] = {}
    for number, text in texts.items():
        shown = systems.prompt_texts(case.reading(number, config.num_passages))
        prompt = GROUNDED.fit(QUESTION.question, shown, tokenizer, config.max_prompt_tokens).prompt
        values[files.text_digest(rendering.pack(prompt))] = [text, 10, 2, -0.1]
    kind = asked._recipe(config).kind
    with cache.open_cache(paths.state_folder() / "work.sqlite", kind) as store:
        store.put(values)


def write_tokenizer(folder: Path) -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="?", unk_token="?")
    tokenizer.save_pretrained(folder)


def test_the_nearest_sentence_of_the_shown_passages_is_what_retrieval_alone_would_say() -> None:
    system = NearestSentence(cast(Encoder, ZebraEncoder()))
    (reply,) = system.answer([Case(QUESTION, PASSAGES)], CONFIG)
    assert reply == Reply(Answer("A zebra has stripes.", 0, 0, 0.0), PASSAGES[:2])


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
    constant = plain[FREQUENT].answer([Case(QUESTION, [])], CONFIG)
    assert constant == [Reply(Answer("No.", 0, 0, 0.0), [])]


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
