"""The systems that answer the golden questions: candidate, base, most frequent answer, champion."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.calibration import Calibration
from pipelines.contracts.champion import Champion
from pipelines.contracts.scores import BASE, CANDIDATE, CHAMPION, FREQUENT, NEAREST
from pipelines.decision import calibrating
from pipelines.questions import prompts
from pipelines.questions.golden import Golden
from pipelines.questions.prompts import Prompt
from pipelines.runtime import comparison, rendering, withholding
from pipelines.runtime.generation import Answer, tokenizer_of
from pipelines.runtime.rendering import ModelInput
from pipelines.runtime.withholding import Limits
from pipelines.training import answer_cache
from pipelines.training.answer_cache import Recipe
from pipelines.training.answer_engine import Engine
from pipelines.vectorstore import Encoder, Passage


class Case(NamedTuple):
    """A golden question with the passages that the index retrieves for it, best first."""

    question: Golden
    passages: list[Passage]

    def prompt_texts(self, num_passages: int) -> list[str]:
        """The texts that a prompt shows."""
        texts: list[str] = []
        for passage in self.passages[:num_passages]:
            texts.append(rendering.shown_text(passage.title, passage.text))
        return texts


class Reply(NamedTuple):
    """What leaves to the user, and what was withheld instead."""

    answer: Answer
    withheld: str | None = None


class System(Protocol):
    """Answers every case, in their order."""

    def answer(self, cases: list[Case], config: EvaluateConfig) -> list[Reply]: ...


@dataclass(frozen=True)
class Model:
    """A language model with its prompt. Its weights are loaded when it answers, and only then."""

    name: str
    base: Path
    adapter: Path | None
    template: Prompt
    engine: Engine
    limits: Limits | None = None  # of what is withheld; None: nothing is
    refusals: tuple[str, ...] = ()  # answers that are never withheld

    def answer(self, cases: list[Case], config: EvaluateConfig) -> list[Reply]:
        tokenizer = tokenizer_of(self.base)
        prompts = [self._render(case, config, tokenizer) for case in cases]
        answers = answer_cache.answer(self._recipe(config), prompts, self.name)
        replies: list[Reply] = []
        for case, answer in zip(cases, answers, strict=True):
            replies.append(self._check(answer, case.prompt_texts(config.num_passages)))
        return replies

    def _check(self, answer: Answer, passages: list[str]) -> Reply:
        """Withhold an answer that does not reach the limits, as serving does."""
        forms = {comparison.normalize(refusal) for refusal in self.refusals}
        if self.limits is None or comparison.normalize(answer.text) in forms:
            return Reply(answer)
        probability = answer.mean_log_probability
        if withholding.reason(answer.text, probability, passages, self.limits) is None:
            return Reply(answer)
        return Reply(answer._replace(text=self.limits.refusal), answer.text)

    def _recipe(self, config: EvaluateConfig) -> Recipe:
        return Recipe(
            engine=self.engine,
            base=self.base,
            adapter=self.adapter,
            precision=config.precision,
            max_new_tokens=config.max_new_tokens,
            batch_size=config.batch_size,
        )

    def _render(self, case: Case, config: EvaluateConfig, tokenizer: Any) -> ModelInput:
        texts = case.prompt_texts(config.num_passages)
        question = case.question.question
        return self.template.fit(question, texts, tokenizer, config.max_prompt_tokens).prompt


@dataclass(frozen=True)
class ConstantAnswer:
    """Gives the same answer to every question: what a model must beat to have learned anything."""

    text: str

    def answer(self, cases: list[Case], config: EvaluateConfig) -> list[Reply]:
        return [Reply(Answer(self.text, 0, 0, 0.0))] * len(cases)


@dataclass(frozen=True)
class NearestSentence:
    """Answers with the shown sentence that is nearest to the question, without a language model.

    What retrieval can do alone: a model that does not beat it has not learned to read.
    """

    encoder: Encoder

    def answer(self, cases: list[Case], config: EvaluateConfig) -> list[Reply]:
        return [self._answer(case, config.num_passages) for case in cases]

    def _answer(self, case: Case, num_passages: int) -> Reply:
        sentences: list[str] = []
        for passage in case.passages[:num_passages]:
            sentences += comparison.sentences(passage.text)
        if not sentences:
            return Reply(Answer("", 0, 0, 0.0))
        question = case.question.question
        vectors = self.encoder.lookup([question, *sentences])
        best = max(sentences, key=lambda sentence: float(vectors[sentence] @ vectors[question]))
        return Reply(Answer(best, 0, 0, 0.0))


def select(
    candidate: Model, most_frequent_answer: str, champion: Champion | None, encoder: Encoder
) -> dict[str, System]:
    """Name -> system, in the order in which they answer."""
    systems: dict[str, System] = {
        CANDIDATE: candidate,
        BASE: replace(candidate, name=BASE, adapter=None, limits=None),
        FREQUENT: ConstantAnswer(most_frequent_answer),
    }
    if candidate.template.shows_passages:
        systems[NEAREST] = NearestSentence(encoder)
    if champion:
        systems[CHAMPION] = _champion(champion, candidate.engine)
    return systems


def questions_of(name: str, cases: list[Case], config: EvaluateConfig) -> list[Case]:
    """The questions that a system is asked: the base model an even sample, all others each."""
    if name != BASE or len(cases) <= config.num_base_questions:
        return cases
    step = len(cases) / config.num_base_questions
    return [cases[int(number * step)] for number in range(config.num_base_questions)]


def _champion(champion: Champion, engine: Engine) -> Model:
    """The released model with the limits that it is served with."""
    folder = Path(champion.folder)
    version = Path(champion.prompt).parent.name
    settings = json.loads((folder / "assistant" / version / "settings.json").read_text())
    withheld = settings["withholding"]
    return Model(
        name=CHAMPION,
        base=folder / champion.model,
        adapter=None,
        template=prompts.load(folder / champion.prompt),
        engine=engine,
        limits=Limits(**withheld) if withheld else None,
        refusals=tuple(settings["refusals"]),
    )


class Weights(NamedTuple):
    """The candidate's files."""

    base: Path
    adapter: Path


def candidate(
    weights: Weights, engine: Engine, calibration: Calibration, refusals: Sequence[str]
) -> Model:
    """The candidate with the limits that its release would have."""
    return Model(
        name=CANDIDATE,
        base=weights.base,
        adapter=weights.adapter,
        template=prompts.load(weights.adapter / prompts.FILE),
        engine=engine,
        limits=calibrating.limits_of(calibration),
        refusals=tuple(refusals),
    )
