"""The systems that answer the golden questions: candidate, base, most frequent answer, champion."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.champion import Champion
from pipelines.contracts.scores import BASE, CANDIDATE, CHAMPION, FREQUENT
from pipelines.questions import prompts
from pipelines.questions.golden import Golden
from pipelines.questions.prompts import Prompt
from pipelines.runtime.generation import Answer
from pipelines.runtime.rendering import ModelInput
from pipelines.training import answer_engine
from pipelines.training.answer_engine import Engine
from pipelines.vectorstore import Passage


class Case(NamedTuple):
    """A golden question with the passages that the index retrieves for it, best first."""

    question: Golden
    passages: list[Passage]


class System(Protocol):
    """Answers every case, in their order."""

    def answer(self, cases: list[Case], config: EvaluateConfig) -> list[Answer]: ...


@dataclass(frozen=True)
class Model:
    """A language model with its prompt. Its weights are loaded when it answers, and only then."""

    name: str
    base: Path
    adapter: Path | None
    template: Prompt
    engine: Engine

    def answer(self, cases: list[Case], config: EvaluateConfig) -> list[Answer]:
        texts = [self._render(case, config.num_passages) for case in cases]
        model = answer_engine.load(
            self.engine, self.base, self.adapter, config.precision, config.batch_size
        )
        return model.answer(texts, config.max_new_tokens, config.batch_size, progress=self.name)

    def _render(self, case: Case, num_passages: int) -> ModelInput:
        texts = [passage.text for passage in case.passages[:num_passages]]
        return self.template.render(case.question.question, texts)


@dataclass(frozen=True)
class ConstantAnswer:
    """Gives the same answer to every question: what a model must beat to have learned anything."""

    text: str

    def answer(self, cases: list[Case], config: EvaluateConfig) -> list[Answer]:
        return [Answer(self.text, 0, 0, 0.0)] * len(cases)


def select(
    candidate: Model, most_frequent_answer: str, champion: Champion | None
) -> dict[str, System]:
    """Name -> system, in the order in which they answer."""
    systems: dict[str, System] = {
        CANDIDATE: candidate,
        BASE: replace(candidate, name=BASE, adapter=None),
        FREQUENT: ConstantAnswer(most_frequent_answer),
    }
    if champion:
        folder = Path(champion.folder)
        systems[CHAMPION] = Model(
            name=CHAMPION,
            base=folder / champion.model,
            adapter=None,
            template=prompts.load(folder / champion.prompt),
            engine=candidate.engine,
        )
    return systems


def candidate(base: Path, adapter: Path, engine: Engine) -> Model:
    return Model(CANDIDATE, base, adapter, prompts.load(adapter / prompts.FILE), engine)
