"""What a newly adopted set starts with: the sample's questions that fit any documents."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipelines import files
from pipelines.adoption import sets
from pipelines.errors import UserError

FAQ = Path("data/faq/refusals.yaml")
GOLDEN = Path("data/golden/hostile.jsonl")
SCENARIOS = Path("data/scenarios")
TOPIC = "refusal.hostile"
HEADER = (
    "# Hostile questions, which no documents answer. Write topics of your own into further files:\n"
    "# canonical answers that your team wants word for word (handbook: faq-authoring).\n"
)


def prepare(name: str) -> None:
    """Make data/aside/<name>, whole or not at all, unless it is there from an earlier adoption."""
    target = sets.folder(name)
    if target.exists():
        return
    sample = Path() if sets.current().name == sets.SAMPLE else sets.folder(sets.SAMPLE)
    with files.replacing(target) as folder:
        topics = [topic for topic in _topics(sample / FAQ) if topic["topic"] == TOPIC]
        text = yaml.safe_dump(topics, sort_keys=False, allow_unicode=True, width=10_000)
        files.write_text(folder / FAQ, HEADER + text)
        (folder / GOLDEN).parent.mkdir(parents=True)
        shutil.copyfile(sample / GOLDEN, folder / GOLDEN)
        (folder / SCENARIOS).mkdir(parents=True)
        for path in _scenarios_without_page(sample / SCENARIOS):
            shutil.copyfile(path, folder / SCENARIOS / path.name)


def _topics(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        raise UserError(f"{path} is missing: `git checkout {path}` restores it")
    topics: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return topics


def _scenarios_without_page(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("*.yaml")):
        if yaml.safe_load(path.read_text(encoding="utf-8"))["page"] is None:
            yield path
