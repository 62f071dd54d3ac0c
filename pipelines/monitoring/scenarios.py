"""Knows scenarios (data/scenarios/*.yaml): what people would ask, and say of the answers, if the world changed in a certain way."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import UserError


class Scenario(BaseModel):
    """One file. Questions of the scenario are its own, or steady ones with replaced words and a preamble."""

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
class Asked:
    """One question with what its user will say of the answer; `thumb` None: nothing. `outage`: asked while the index cannot be searched."""

    question: str
    thumb: int | None
    correction: str | None
    outage: bool


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load(folder: Path, name: str) -> Scenario:
    """A checked scenario. Raises UserError that names file, key and remedy."""
    path = folder / f"{name}.yaml"
    if not path.exists():
        raise UserError(f"--scenario {name}: there is no {path}; there are {', '.join(names(folder)) or 'none'}")
    try:
        return Scenario.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, ValidationError) as error:
        raise UserError(f"{path}: is no scenario: {error}\nsteady.yaml shows what each key means") from error


def draw(scenario: Scenario, steady: Sequence[str], num_requests: int, seed: int) -> list[Asked]:
    """What `num_requests` users ask and say, in their order, an outage last; the same seed gives the same."""
    dice = random.Random(seed)
    asked = []
    for _ in range(num_requests):
        own = dice.random() < scenario.share
        question = dice.choice(scenario.questions) if own and scenario.questions else dice.choice(steady)
        if own:
            question = _reworded(question, scenario, dice)
        corrected = own and scenario.correction is not None
        speaks = dice.random() < scenario.feedback_share
        thumb = -1 if corrected else (-1 if dice.random() < scenario.thumbs_down_share else 1) if speaks else None
        asked.append(Asked(question, thumb, scenario.correction if corrected else None, own and scenario.outage))
    return sorted(asked, key=lambda one: one.outage)


def _reworded(question: str, scenario: Scenario, dice: random.Random) -> str:
    words = re.split(r"(\W+)", question)
    question = "".join(scenario.replace.get(word.lower(), word) for word in words)
    return f"{dice.choice(scenario.preambles)} {question}" if scenario.preambles else question
