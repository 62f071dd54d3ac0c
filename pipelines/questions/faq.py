"""Reads the FAQ (data/faq/*.yaml): topics, each with an answer, its page and many questions."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import UserError

MAX_ANSWER_CHARACTERS = 1000


class Topic(BaseModel):
    """One entry. `page` is the uri of the supporting document; refusals have none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    topic: str = Field(min_length=1)
    page: str | None
    answer: str = Field(min_length=1, max_length=MAX_ANSWER_CHARACTERS)
    questions: list[str] = Field(min_length=1)
    refusal: bool = False


def load(folder: Path) -> list[Topic]:
    """All topics, sorted by name. Raises UserError with file, entry, key and remedy."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise UserError(f"{folder} holds no *.yaml: write topics there (handbook: faq-authoring)")
    topics: dict[str, Topic] = {}
    files: dict[str, Path] = {}
    for path in paths:
        for topic in _read_topics(path):
            name = topic.topic
            if name in topics:
                raise UserError(
                    f"{path}: topic {name!r} is already in {files[name]}: rename either"
                )
            topics[name] = topic
            files[name] = path
    return [topics[name] for name in sorted(topics)]


def _read_topics(path: Path) -> list[Topic]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid YAML: {error}") from error
    if not isinstance(entries, list):
        raise UserError(f"{path}: must be a list of topics, each starting with `- topic:`")
    return [
        _check_topic(entry, f"{path}: topic {_name_entry(entry, number)}")
        for number, entry in enumerate(entries, start=1)
    ]


def _name_entry(entry: Any, number: int) -> Any:
    """The entry's own name, or its number in the file if it has none."""
    if isinstance(entry, dict) and "topic" in entry:
        return entry["topic"]
    return f"number {number}"


def _check_topic(entry: Any, label: str) -> Topic:
    try:
        topic = Topic.model_validate(entry)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "entry"
        value = str(problem["input"])[:80]
        raise UserError(
            f"{label}: {key}: {problem['msg']} (it is {value!r}). "
            "Put quotes around a question that holds `: ` or starts with a sign"
        ) from error
    if (topic.page is None) != topic.refusal:
        raise UserError(
            f"{label}: page: name the page that supports the answer; "
            "only a topic with `refusal: true` has `page: null`"
        )
    return topic
