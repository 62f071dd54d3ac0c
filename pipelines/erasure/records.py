"""Records in JSON lines: questions, drafts, reviews, and the reading set; they lose their lines."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config import params
from pipelines.config.examples import ExamplesConfig
from pipelines.config.monitor import MonitorConfig
from pipelines.erasure.finding import Finding
from pipelines.erasure.subject import Subject, json_or_text
from pipelines.questions import lessons, reading_set, reviews
from pipelines.system import hash_chain

Entry = dict[str, Any]
LESSONS = (lessons.REVIEWED_FAQ, lessons.REVIEWED_GOLDEN)


def find_lines(path: Path, subject: Subject) -> Iterator[Finding]:
    """The lines of a record that speak of the subject; nothing if it stands across two lines."""
    lines = path.read_text(encoding="utf-8").split("\n")
    count = sum(subject.is_in(json_or_text(line)) for line in lines)
    if count:
        remove = _remove_entries if _is_chain(lines) else _remove_lines
        yield Finding(path.as_posix(), count, "lines", partial(remove, path, subject.is_in))


def find_reviews(request_ids: set[str]) -> Iterator[Finding]:
    """Reviews of these requests, and what was made of them."""
    if not reviews.RECORD.exists():
        return
    count = sum(review.request_id in request_ids for review in reviews.read())
    if count:

        def is_meant(entry: Entry) -> bool:
            return entry["request_id"] in request_ids

        remove = partial(_remove_entries, reviews.RECORD, is_meant)
        yield Finding(reviews.RECORD.as_posix(), count, "lines", remove)
        yield lessons_made_again(lessons.REVIEWED_FAQ)


def lessons_made_again(path: Path) -> Finding:
    """FAQ topics and golden questions that are made from the reviews; for after those."""
    return Finding(path.as_posix(), 1, "files", _teach_again)


def _is_chain(lines: list[str]) -> bool:
    entry = json_or_text(lines[0])
    return isinstance(entry, dict) and set(hash_chain.CHAIN_KEYS) <= entry.keys()


def _remove_lines(path: Path, is_meant: Callable[[Any], bool]) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    other_lines = [line for line in lines if not is_meant(json_or_text(line))]
    files.write_text(path, "\n".join(other_lines))


def _remove_entries(path: Path, is_meant: Callable[[Any], bool]) -> None:
    hash_chain.rewrite(path, lambda entry: None if is_meant(entry) else entry)


def _teach_again() -> None:
    """Make the FAQ topics and golden questions anew from the reviews that are left."""
    values = params.load()
    monitor = values.section(MonitorConfig)
    limits = lessons.Limits.from_config(monitor, values.section(ExamplesConfig))
    lessons.write(lessons.load(limits))


def find_in_reading_set(folder: Path, subject: Subject) -> Iterator[Finding]:
    """Lines of a reading set; its questions name passages by number, so it is one thing."""
    count = 0
    for path in sorted(folder.glob("*.jsonl")):
        lines = path.read_text(encoding="utf-8").split("\n")
        count += sum(subject.is_in(json_or_text(line)) for line in lines)
    if count:
        remove = partial(_clean_reading_set, folder, subject)
        yield Finding(folder.as_posix(), count, "lines", remove)


def _clean_reading_set(folder: Path, subject: Subject) -> None:
    """Remove its passages, their numbers from questions, and questions that have none left.

    Passages come last: after a kill the same command finds them, and cleans the questions again.
    """
    passages = _entries(folder / reading_set.PASSAGES)
    numbers = {entry["number"] for entry in passages if subject.is_in(entry)}
    for path in sorted(folder.glob("*.jsonl")):
        if path.name != reading_set.PASSAGES:
            questions = [_without(entry, numbers) for entry in _entries(path)]
            _write(path, [entry for entry in questions if _stays(entry, subject)])
    passages = [entry for entry in passages if entry["number"] not in numbers]
    _write(folder / reading_set.PASSAGES, passages)


def _without(question: Entry, numbers: set[int]) -> Entry:
    """A question without these passages."""
    pairs = zip(question["passages"], question["similarities"], strict=True)
    new_question: Entry = {**question, "passages": [], "similarities": []}
    for number, similarity in pairs:
        if number not in numbers:
            new_question["passages"].append(number)
            new_question["similarities"].append(similarity)
    return new_question


def _stays(question: Entry, subject: Subject) -> bool:
    return bool(question["passages"]) and not subject.is_in(question)


def _entries(path: Path) -> list[Entry]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def _write(path: Path, entries: list[Entry]) -> None:
    lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries]
    files.write_text(path, "".join(lines))
