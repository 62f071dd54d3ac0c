"""Thresholds of params.yaml that the user's documents break, and values that they keep.

They were chosen for the sample. Each change is explained, with the documents that call for it, so
that a person can mend the documents instead.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.config.gate import GateConfig
from pipelines.config.ingest import IngestConfig
from pipelines.config.validate import ValidateConfig
from pipelines.corpus.losses import DOCUMENTS_WITHIN_LIMIT

MAX_REJECTED_SHARE = 0.3  # above it nothing is adopted
MAX_LINES = 10  # of rejections in a message
MAX_EXAMPLES = 3  # documents that an explanation names
# A language that fewer documents are in is no reason to allow it everywhere.
MIN_LANGUAGE_SHARE = 0.1


class Change(NamedTuple):
    """A value of params.yaml that adoption changes. `new` None: the key is removed."""

    key: str
    old: Any
    new: Any
    why: str

    def describe(self) -> str:
        after = "removed" if self.new is None else self.new
        return f"{self.key}: {self.old} -> {after}: {self.why}"


@dataclass(frozen=True)
class Facts:
    """What the readers found in a document."""

    uri: str
    characters: int
    language: str | None
    is_untitled: bool
    num_aliases: int
    left_out_share: float  # of its text, by its reader


def obstacles(documents: Sequence[Facts], rejections: Mapping[str, str]) -> list[str]:
    """Why the documents cannot be adopted at all: too many of them cannot be read."""
    total = len(documents) + len(rejections)
    if len(rejections) <= MAX_REJECTED_SHARE * total:
        return []
    lines = [
        f"{len(rejections)} of {total} documents cannot be read, so an assistant would know too "
        "little; nothing has been changed. Mend or remove them, or raise the limit that a reason "
        "names (params.yaml: ingest.limits; on a slow machine: seconds), and run the same command:"
    ]
    return lines + [f"  - {uri}: {reason}" for uri, reason in list(rejections.items())[:MAX_LINES]]


def for_documents(
    ingest: IngestConfig,
    validate: ValidateConfig,
    documents: Sequence[Facts],
    rejections: Mapping[str, str],
) -> list[Change]:
    """The changes without which `ingest` or `validate` would stop. `rejections`: uri -> reason."""
    changes: list[Change] = []
    for change in (
        _rejected(ingest, len(documents), rejections),
        _number(validate, len(documents)),
        _shortest(validate, documents),
        *_languages(validate, documents),
        _duplicates(validate, documents),
        _untitled(validate, documents),
        _left_out(validate, documents),
    ):
        if change is not None:
            changes.append(change)
    return changes


def for_release(
    validate: ValidateConfig, num_documents: int, num_before: int | None
) -> list[Change]:
    """`num_before`: documents of the current release, None if there is none."""
    if not num_before:
        return []
    share = abs(num_documents - num_before) / num_before
    limit = validate.max_volume_change_share
    if share <= limit:
        return []
    why = (
        f"the current release knows {num_before} documents and there are {num_documents} now; set "
        f"it back to {limit} after the first release of your own"
    )
    return [Change("validate.max_volume_change_share", limit, _share_above(share), why)]


def for_gate(gate: GateConfig, measurable_metrics: Iterable[str]) -> list[Change]:
    """The floors and champion's metrics that no golden question could measure."""
    measurable = set(measurable_metrics)
    changes: list[Change] = []
    for metric, floor in gate.floors.items():
        if metric not in measurable:
            why = (
                "no golden question of yours measures it yet, and a floor that is not measured "
                "refuses every model; `adopt` on the same documents puts it back once there are any"
            )
            changes.append(Change(f"gate.floors.{metric}", floor, None, why))
    metrics = [metric for metric in gate.champion_metrics if metric in measurable]
    if metrics != gate.champion_metrics:
        why = "the others are not measured yet"
        changes.append(Change("gate.champion_metrics", gate.champion_metrics, metrics, why))
    return changes


def _rejected(
    config: IngestConfig, num_documents: int, rejections: Mapping[str, str]
) -> Change | None:
    share = len(rejections) / (num_documents + len(rejections))
    if share <= config.max_rejected_share:
        return None
    reasons = [f"{uri} ({reason})" for uri, reason in rejections.items()]
    why = f"{len(rejections)} documents cannot be read and are left out: {_examples(reasons)}"
    key = "ingest.max_rejected_share"
    return Change(key, config.max_rejected_share, _share_above(share), why)


def _number(config: ValidateConfig, num_documents: int) -> Change | None:
    if num_documents >= config.min_documents:
        return None
    why = f"there are only {num_documents}"
    return Change("validate.min_documents", config.min_documents, num_documents, why)


def _shortest(config: ValidateConfig, documents: Sequence[Facts]) -> Change | None:
    median = int(statistics.median(facts.characters for facts in documents))
    if median >= config.min_median_characters:
        return None
    short = [facts for facts in documents if facts.characters < config.min_median_characters]
    names = [f"{facts.uri} ({facts.characters})" for facts in short]
    why = f"{len(short)} documents are shorter; look whether they say anything: {_examples(names)}"
    key = "validate.min_median_characters"
    return Change(key, config.min_median_characters, max(1, median), why)


def _languages(config: ValidateConfig, documents: Sequence[Facts]) -> Iterator[Change]:
    """Allow the languages that many documents are in; let few exceptions of any pass."""
    total = len(documents)
    counts = Counter(facts.language for facts in documents if facts.language)
    share = sum(counts[language] for language in config.languages) / total
    if share >= config.min_language_share:
        return
    frequent = [name for name, num in counts.items() if num / total >= MIN_LANGUAGE_SHARE]
    languages = sorted({*config.languages, *frequent})
    if config.languages[0] not in counts:
        languages = sorted(frequent)
    allowed = sum(counts[language] for language in languages) / total
    foreign = [f.uri for f in documents if f.language not in config.languages]
    listing = ", ".join(f"{num} {name}" for name, num in counts.most_common())
    if languages != config.languages:
        why = (
            f"documents by language: {listing} ({_examples(foreign)}); the encoder and the base "
            "model of params.yaml read English best"
        )
        yield Change("validate.languages", config.languages, languages, why)
    if allowed < config.min_language_share:
        why = f"documents by language: {listing}: {_examples(foreign)}"
        value = math.floor(allowed * 100) / 100
        yield Change("validate.min_language_share", config.min_language_share, value, why)


def _duplicates(config: ValidateConfig, documents: Sequence[Facts]) -> Change | None:
    share = sum(facts.num_aliases for facts in documents) / len(documents)
    if share <= config.max_duplicate_share:
        return None
    names = [facts.uri for facts in documents if facts.num_aliases]
    why = f"so many are near-duplicates and left out, of {_examples(names)}"
    key = "validate.max_duplicate_share"
    return Change(key, config.max_duplicate_share, _share_above(share), why)


def _untitled(config: ValidateConfig, documents: Sequence[Facts]) -> Change | None:
    names = [facts.uri for facts in documents if facts.is_untitled]
    share = len(names) / len(documents)
    if share <= config.max_untitled_share:
        return None
    why = f"{len(names)} documents have no title: {_examples(names)}"
    key = "validate.max_untitled_share"
    return Change(key, config.max_untitled_share, _share_above(share), why)


def _left_out(config: ValidateConfig, documents: Sequence[Facts]) -> Change | None:
    limit = config.max_left_out_share
    worst_first = sorted(documents, key=lambda facts: -facts.left_out_share)
    above = [facts for facts in worst_first if facts.left_out_share > limit]
    num_allowed = math.floor((1 - DOCUMENTS_WITHIN_LIMIT) * len(documents))
    if len(above) <= num_allowed:
        return None
    names = [f"{facts.uri} ({facts.left_out_share:.0%})" for facts in above]
    why = (
        f"the readers left out more of {len(above)} documents; look with `python -m pipelines "
        f"read` whether it was navigation: {_examples(names)}"
    )
    value = _share_above(worst_first[num_allowed].left_out_share)
    return Change("validate.max_left_out_share", limit, value, why)


def _share_above(share: float) -> float:
    return math.ceil(share * 100) / 100


def _examples(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_EXAMPLES])
    remaining = len(names) - MAX_EXAMPLES
    return f"{shown} and {remaining} more" if remaining > 0 else shown
