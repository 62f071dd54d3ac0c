"""Reads the FAQ (data/faq/*.yaml): topics, each with an answer, its page and many questions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import demand_none

MAX_ANSWER_CHARACTERS = 1000


class Topic(BaseModel):
    """One entry. `page` is the uri of the supporting document; refusals have none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    topic: str = Field(min_length=1)
    page: str | None
    answer: str = Field(min_length=1, max_length=MAX_ANSWER_CHARACTERS)
    questions: list[str] = Field(min_length=1)
    refusal: bool = False


@dataclass(frozen=True)
class Reading:
    """What the files hold: the good topics, sorted by name, and what is wrong with the others."""

    topics: list[Topic]
    labels: dict[str, str]  # topic -> its file and name; those of entries with a problem too
    problems: list[str]
    is_whole: bool  # no file was left out


def load(folder: Path) -> list[Topic]:
    """All topics, sorted by name. Raises UserError that lists every problem of every file."""
    reading = read(folder)
    demand_none(reading.problems)
    return reading.topics


def read(folder: Path) -> Reading:
    """The same without raising. Each problem names file, entry, key and remedy."""
    paths = sorted(folder.glob("*.yaml"))
    topics: dict[str, Topic] = {}
    labels: dict[str, str] = {}
    files: dict[str, Path] = {}
    problems: list[str] = []
    is_whole = True
    for path in paths:
        entries = _entries(path, problems)
        is_whole = is_whole and entries is not None
        for label, entry in entries or []:
            topic = _topic(entry, label, problems)
            if topic is None:
                labels.setdefault(str(_name_entry(entry, 0)), label)
                continue
            name = topic.topic
            if name in topics:
                problems.append(
                    f"{path}: topic {name!r} is already in {files[name]}: rename either"
                )
                continue
            topics[name] = topic
            labels[name] = label
            files[name] = path
    if not paths:
        problems.append(f"{folder} holds no *.yaml: write topics there (handbook: faq-authoring)")
    return Reading([topics[name] for name in sorted(topics)], labels, problems, is_whole)


def _entries(path: Path, problems: list[str]) -> list[tuple[str, Any]] | None:
    """The entries of a file, each with its label; None, and a problem added, if it is no list."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems.append(f"{path}: is not valid YAML: {error}")
        return None
    if not isinstance(entries, list):
        problems.append(f"{path}: must be a list of topics, each starting with `- topic:`")
        return None
    labels = [
        f"{path}: topic {_name_entry(entry, number)}" for number, entry in enumerate(entries, 1)
    ]
    return list(zip(labels, entries, strict=True))


def _name_entry(entry: Any, number: int) -> Any:
    """The entry's own name, or its number in the file if it has none."""
    if isinstance(entry, dict) and "topic" in entry:
        return entry["topic"]
    return f"number {number}"


def _topic(entry: Any, label: str, problems: list[str]) -> Topic | None:
    """The entry as a topic; None, and its problems added, if it is none."""
    try:
        topic = Topic.model_validate(entry)
    except ValidationError as error:
        for problem in error.errors():
            key = ".".join(map(str, problem["loc"])) or "entry"
            value = str(problem["input"])[:80]
            problems.append(
                f"{label}: {key}: {problem['msg']} (it is {value!r}). "
                "Put quotes around a question that holds `: ` or starts with a sign"
            )
        return None
    if (topic.page is None) != topic.refusal:
        problems.append(
            f"{label}: page: name the page that supports the answer; "
            "only a topic with `refusal: true` has `page: null`"
        )
        return None
    return topic
