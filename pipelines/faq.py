"""Knows the FAQ (data/faq/*.yaml): topics with a canonical answer, the page that supports it, and many wordings of the question."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import UserError


class Topic(BaseModel):
    """One entry. `page` is the uri of the supporting document; refusals have none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    topic: str = Field(min_length=1)
    page: str | None
    answer: str = Field(min_length=1, max_length=1000)
    questions: list[str] = Field(min_length=1)
    refusal: bool = False


def load(folder: Path) -> list[Topic]:
    """All topics, sorted by name. Raises UserError that names file, entry, key and remedy."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise UserError(f"{folder} holds no *.yaml: write topics there (handbook: faq-authoring)")
    found: dict[str, tuple[Topic, Path]] = {}
    for path in paths:
        for topic in _read(path):
            if topic.topic in found:
                raise UserError(f"{path}: topic {topic.topic!r} is in {found[topic.topic][1]} already: rename one")
            found[topic.topic] = (topic, path)
    return [found[name][0] for name in sorted(found)]


def _read(path: Path) -> list[Topic]:
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid YAML: {error}") from error
    if not isinstance(entries, list):
        raise UserError(f"{path}: must be a list of topics, each starting with `- topic:`")
    topics = []
    for number, entry in enumerate(entries, start=1):
        name = entry.get("topic", f"number {number}") if isinstance(entry, dict) else f"number {number}"
        try:
            topic = Topic.model_validate(entry)
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(map(str, problem["loc"])) or "entry"
            raise UserError(f"{path}: topic {name}: {key}: {problem['msg']} (it is {str(problem['input'])[:80]!r}). A question with `: ` or a leading sign needs quotes") from error
        if (topic.page is None) != topic.refusal:
            raise UserError(f"{path}: topic {name}: page: a topic names the page that supports its answer; only one with `refusal: true` has `page: null`")
        topics.append(topic)
    return topics
