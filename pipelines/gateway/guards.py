"""Guards: what is looked for in a question before the assistant is asked, and in its answer.

Personal data is looked for here, by the redactor of the pipeline's documents. The rest is looked
for where the question's vector and the prompt are: inside Triton (runtime/assistant.py), which is
told what to do. What was decided is in the traffic log (`guard_flags`), in the gateway's table of
decisions, and in its metrics.
"""

import asyncio
import time
from dataclasses import dataclass, replace

from sqlalchemy import Engine, insert

from pipelines.config.gateway import Guard, Guards, GuardSettings
from pipelines.config.redact import RedactConfig
from pipelines.corpus import pii
from pipelines.gateway.database import DECISIONS
from pipelines.gateway.metrics import Metrics
from pipelines.runtime import comparison, injection, leaks
from pipelines.runtime.guard_actions import Action, GuardActions
from pipelines.serving.client import Answer, Question

PERSONAL = "holds personal data"
GUARD_OF_FLAG: dict[str, Guard] = {
    injection.FLAG: "injection",
    leaks.SECRET: "secret_answer",
    leaks.PROMPT: "secret_answer",
    PERSONAL: "personal_question",
}
WITHHELD = "This answer is withheld by a guard."


def toxicity(text: str) -> float:
    """The highest probability that a sentence is profane, by alt-profanity-check's small model."""
    from profanity_check import predict_prob

    return float(max(predict_prob(comparison.sentences(text))))


@dataclass(frozen=True)
class GuardedQuestion:
    """A question as it may be worked on and logged, and the settings that it is under."""

    question: Question
    settings: GuardSettings

    @property
    def holds_answer(self) -> bool:
        """Whether nothing of the answer may leave before it is whole."""
        return "block" in (self.settings.personal_answer, self.settings.toxic_answer)


class GuardKeeper:
    """The guards of one gateway."""

    def __init__(self, guards: Guards, redact: RedactConfig, engine: Engine, metrics: Metrics):
        self._guards = guards
        self._engine = engine
        self._metrics = metrics
        self._redactor = pii.load(redact)
        toxicity("")  # loads the model, so that nobody waits for it

    async def redact(self, tenant: str, text: str) -> str:
        """A text of this tenant's asker without personal data, unless that is not looked for."""
        if self._guards.of(tenant).personal_question == "off":
            return text
        return (await asyncio.to_thread(self._redactor.redact, text)).text

    async def check_question(self, question: Question) -> GuardedQuestion:
        """The question without personal data, with what the assistant's own guards are to do."""
        settings = self._guards.of(question.tenant)
        text = await self.redact(question.tenant, question.text)
        is_personal = text != question.text
        is_blocked = is_personal and settings.personal_question == "block"
        actions = GuardActions(
            Action(settings.injection),
            Action(settings.secret_answer),
            (PERSONAL,) if is_personal else (),
            f"the question {PERSONAL}" if is_blocked else None,
        )
        safe_question = replace(question, text=text, guards=actions)
        return GuardedQuestion(safe_question, settings)

    async def check_answer(self, guarded_question: GuardedQuestion, answer: Answer) -> Answer:
        """The answer as it may leave; what the guards decide is put on record."""
        decisions = {GUARD_OF_FLAG[flag] for flag in answer.guard_flags if flag in GUARD_OF_FLAG}
        if not answer.is_refusal:
            ours = await asyncio.to_thread(
                self._look_at_answer, guarded_question.settings, answer.text
            )
            decisions |= ours
            if any(getattr(guarded_question.settings, guard) == "block" for guard in ours):
                answer = replace(answer, text=WITHHELD, is_refusal=True, citations=[])
        await self._record(guarded_question, decisions)
        is_blocked = any(
            getattr(guarded_question.settings, guard) == "block" for guard in decisions
        )
        return replace(answer, is_blocked=is_blocked)

    def _look_at_answer(self, settings: GuardSettings, text: str) -> set[Guard]:
        """What the guards of this process notice in an answer."""
        decisions: set[Guard] = set()
        if settings.personal_answer != "off" and self._redactor.find_entities(text):
            decisions.add("personal_answer")
        if settings.toxic_answer != "off" and toxicity(text) >= self._guards.min_toxicity:
            decisions.add("toxic_answer")
        return decisions

    async def record_block(self, guarded_question: GuardedQuestion) -> None:
        """Put on record that the question was blocked, by the only guard that can have done it."""
        is_personal = guarded_question.question.guards.problem is not None
        await self._record(guarded_question, {"personal_question" if is_personal else "injection"})

    async def _record(self, guarded_question: GuardedQuestion, decisions: set[Guard]) -> None:
        rows: list[dict[str, object]] = []
        for guard in sorted(decisions):
            action = str(getattr(guarded_question.settings, guard))
            self._metrics.count_decision(guard, action)
            rows.append(
                {
                    "request_id": guarded_question.question.request_id,
                    "guard": guard,
                    "action": action,
                    "time": time.time(),
                }
            )
        if rows:
            await asyncio.to_thread(self._write, rows)

    def _write(self, rows: list[dict[str, object]]) -> None:
        with self._engine.begin() as connection:
            connection.execute(insert(DECISIONS), rows)
