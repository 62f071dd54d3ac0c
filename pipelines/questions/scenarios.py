"""Scenarios (data/scenarios/*.yaml): what people would ask and say if the world changed."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import UserError


class Scenario(BaseModel):
    """One file. Its questions are its own, or steady ones with replaced words and a preamble."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    description: str
    share: float = Field(ge=0, le=1)
    questions: list[str]
    replace: dict[str, str]
    preambles: list[str]
    correction: str | None
    page: str | None
    outage: bool
    feedback_share: float = Field(ge=0, le=1)
    thumbs_down_share: float = Field(ge=0, le=1)


@dataclass(frozen=True)
class Request:
    """One question, with what its user will say about the answer."""

    question: str
    thumb: int | None  # 1 or -1; None: no feedback
    correction: str | None
    outage: bool  # asked while the index cannot be searched


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load(folder: Path, name: str) -> Scenario:
    """A checked scenario. Raises UserError with file, key and remedy."""
    path = folder / f"{name}.yaml"
    if not path.exists():
        choices = ", ".join(names(folder)) or "none"
        raise UserError(f"--scenario {name}: {path} does not exist; there are {choices}")
    try:
        return Scenario.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError) as error:
        raise UserError(
            f"{path}: is not a scenario: {error}\nsteady.yaml explains each key"
        ) from error


def draw(
    scenario: Scenario, steady_questions: Sequence[str], num_requests: int, seed: int
) -> list[Request]:
    """Requests in the order in which users make them, those of an outage last.

    The same seed gives the same requests.
    """
    dice = random.Random(seed)
    requests = [_draw_request(scenario, steady_questions, dice) for _ in range(num_requests)]
    return sorted(requests, key=lambda request: request.outage)


def _draw_request(
    scenario: Scenario, steady_questions: Sequence[str], dice: random.Random
) -> Request:
    belongs = dice.random() < scenario.share
    choices = scenario.questions if belongs and scenario.questions else steady_questions
    question = dice.choice(choices)
    if belongs:
        question = _reword(question, scenario, dice)
    correction = scenario.correction if belongs else None
    gives_feedback = dice.random() < scenario.feedback_share
    thumb = None
    if correction is not None:
        thumb = -1
    elif gives_feedback:
        thumb = -1 if dice.random() < scenario.thumbs_down_share else 1
    return Request(question, thumb, correction, outage=belongs and scenario.outage)


def _reword(question: str, scenario: Scenario, dice: random.Random) -> str:
    """The question with the scenario's words, after one of its preambles."""
    words = re.split(r"(\W+)", question)
    question = "".join(scenario.replace.get(word.lower(), word) for word in words)
    if not scenario.preambles:
        return question
    return f"{dice.choice(scenario.preambles)} {question}"
