"""The systems that answer the golden questions: candidate, base, most frequent answer, champion."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

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

    def reading(self, number: int, num_passages: int) -> list[Passage]:
        """What a model is shown: the best passages first, then, by number, the next ones."""
        return self.passages[number * num_passages : (number + 1) * num_passages]


class Reply(NamedTuple):
    """What leaves to the user with the passages it cites, and what was withheld instead."""

    answer: Answer
    passages: list[Passage]
    withheld: str | None = None


def prompt_texts(passages: list[Passage]) -> list[str]:
    """The texts that a prompt shows."""
    return [rendering.shown_text(passage.title, passage.text) for passage in passages]


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
    max_readings: int = 1

    def answer(self, cases: list[Case], config: EvaluateConfig) -> list[Reply]:
        """If the passages shown do not answer a question, the next ones are read, as in serving."""
        replies = self._read(cases, 0, config)
        for number in range(1, self.max_readings):
            positions: list[int] = []
            for position, case in enumerate(cases):
                if self._reads_on(replies[position], case.reading(number, config.num_passages)):
                    positions.append(position)
            later = self._read([cases[position] for position in positions], number, config)
            for position, reply in zip(positions, later, strict=True):
                replies[position] = self._take(replies[position], reply)
        return replies

    def _reads_on(self, reply: Reply, passages: list[Passage]) -> bool:
        return bool(passages) and self._finds_nothing(reply)

    def _finds_nothing(self, reply: Reply) -> bool:
        return withholding.finds_nothing(reply.answer.text, self.limits)

    def _take(self, earlier: Reply, later: Reply) -> Reply:
        """The later reply if it answers, with the tokens of both."""
        num_prompt_tokens = earlier.answer.num_prompt_tokens + later.answer.num_prompt_tokens
        num_new_tokens = earlier.answer.num_new_tokens + later.answer.num_new_tokens
        reply = earlier if self._finds_nothing(later) else later
        answer = reply.answer._replace(
            num_prompt_tokens=num_prompt_tokens, num_new_tokens=num_new_tokens
        )
        return reply._replace(answer=answer)

    def _read(self, cases: list[Case], number: int, config: EvaluateConfig) -> list[Reply]:
        """Replies from one reading of each question."""
        if not cases:
            return []
        tokenizer = tokenizer_of(self.base)
        readings = [case.reading(number, config.num_passages) for case in cases]
        prompts: list[ModelInput] = []
        for case, passages in zip(cases, readings, strict=True):
            texts = prompt_texts(passages)
            fitting = self.template.fit(
                case.question.question, texts, tokenizer, config.max_prompt_tokens
            )
            prompts.append(fitting.prompt)
        name = self.name if number == 0 else f"{self.name}, reading {number + 1}"
        answers = answer_cache.answer(self._recipe(config), prompts, name)
        replies: list[Reply] = []
        for passages, answer in zip(readings, answers, strict=True):
            replies.append(self._check(answer, passages))
        return replies

    def _check(self, answer: Answer, passages: list[Passage]) -> Reply:
        """Withhold an answer that does not reach the limits, as serving does."""
        forms = {comparison.normalize(refusal) for refusal in self.refusals}
        if self.limits is None or comparison.normalize(answer.text) in forms:
            return Reply(answer, passages)
        probability = answer.mean_log_probability
        texts = prompt_texts(passages)
        if withholding.reason(answer.text, probability, texts, self.limits) is None:
            return Reply(answer, passages)
        return Reply(answer._replace(text=self.limits.refusal), passages, answer.text)

    def _recipe(self, config: EvaluateConfig) -> Recipe:
        return Recipe(
            engine=self.engine,
            base=self.base,
            adapter=self.adapter,
            precision=config.precision,
            max_new_tokens=config.max_new_tokens,
            batch_size=config.batch_size,
        )


@dataclass(frozen=True)
class ConstantAnswer:
    """Gives the same answer to every question: what a model must beat to have learned anything."""

    text: str

    def answer(self, cases: list[Case], config: EvaluateConfig) -> list[Reply]:
        answer = Answer(self.text, 0, 0, 0.0)
        return [Reply(answer, case.reading(0, config.num_passages)) for case in cases]


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
        passages = case.reading(0, num_passages)
        for passage in passages:
            sentences += comparison.sentences(passage.text)
        if not sentences:
            return Reply(Answer("", 0, 0, 0.0), passages)
        question = case.question.question
        vectors = self.encoder.lookup([question, *sentences])
        best = max(sentences, key=lambda sentence: float(vectors[sentence] @ vectors[question]))
        return Reply(Answer(best, 0, 0, 0.0), passages)


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
        max_readings=settings.get("max_readings", 1),  # missing in releases of earlier versions
    )


class Weights(NamedTuple):
    """The candidate's files."""

    base: Path
    adapter: Path


class AnswerSettings(NamedTuple):
    """What the candidate's answers depend on beside its weights and limits."""

    refusals: Sequence[str]
    max_readings: int


def candidate(
    weights: Weights, engine: Engine, calibration: Calibration, settings: AnswerSettings
) -> Model:
    """The candidate with the limits that its release would have."""
    return Model(
        name=CANDIDATE,
        base=weights.base,
        adapter=weights.adapter,
        template=prompts.load(weights.adapter / prompts.FILE),
        engine=engine,
        limits=calibrating.limits_of(calibration),
        refusals=tuple(settings.refusals),
        max_readings=settings.max_readings,
    )
