"""Detects personal data with Presidio and replaces it: in documents, examples and the traffic log.

Types that have a form are detected: by patterns, checksums and the words around them. Names of
people and places have none; they need a spaCy pipeline (redact.names_model). Nothing is fetched
from a network.
"""

import hmac
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.config.redact import Action, RedactConfig
from pipelines.corpus import addresses, hidden_emails, phones, placeholders, recognizers
from pipelines.corpus.addresses import personal_span
from pipelines.corpus.hidden_emails import plain_email
from pipelines.errors import UserError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

MAX_ROUNDS = 8
KEY_VARIABLE = "PII_HASH_KEY"
MIN_KEY_BYTES = 16
CONTEXT_CHARACTERS = 40  # that redactions.parquet shows on each side of a replacement
CODE = (
    Path(__file__),
    Path(recognizers.__file__),
    Path(addresses.__file__),
    Path(hidden_emails.__file__),
    Path(phones.__file__),
    Path(placeholders.__file__),
    Path(__file__).parents[1] / "config/redact.py",
)
LIBRARIES = ("phonenumbers", "presidio-analyzer", "spacy")
TYPES_OF_NAMES = {"PERSON", "LOCATION", "ORGANIZATION", "NRP"}
DIGITS_TO_LETTERS = str.maketrans("0123456789", "ghijklmnop")  # so that no code looks like a number

Pseudonyms = dict[tuple[str, str], str]  # (type, value) -> what replaces it, for one document


class Entity(NamedTuple):
    """Personal data of a type at characters [start, end).

    `why` names the recognizer and what it saw, without the value.
    """

    start: int
    end: int
    type: str
    why: str


class Shift(NamedTuple):
    """Characters [start, end) of the old text are [new_start, new_end) of the new one."""

    start: int
    end: int
    new_start: int
    new_end: int


class Replacement(NamedTuple):
    """What stands at characters [start, end) of the new text instead of a value, and why."""

    start: int
    end: int
    type: str
    why: str


@dataclass(frozen=True)
class Redaction:
    """A text without personal data. `rounds` are how its characters shifted."""

    text: str
    replacements: list[Replacement]
    rounds: list[list[Shift]]

    @property
    def counts(self) -> Counter[str]:
        """The number of replacements by type."""
        return Counter(map(attrgetter("type"), self.replacements))

    def new_position(self, position: int) -> int:
        """Where a character of the old text is in the new one.

        A character that was replaced is at the start of its replacement.
        """
        return _position_after(position, self.rounds)


def _position_after(position: int, rounds: list[list[Shift]]) -> int:
    for shifts in rounds:
        position = _new_position(position, shifts)
    return position


def _new_position(position: int, shifts: list[Shift]) -> int:
    """Where a character is after one round of replacements."""
    last = None
    for shift in shifts:
        if shift.start < position:
            last = shift
    if last is None:
        return position
    if position < last.end:
        return last.new_start
    return position - last.end + last.new_end


@dataclass(frozen=True)
class Redactor:
    """Presidio's engine with the settings of params.yaml. `key` is the secret for `hash`."""

    engine: "AnalyzerEngine"
    actions: dict[str, Action]
    min_score: float
    allow: tuple[re.Pattern[str], ...]
    key: bytes = field(repr=False)

    def find_entities(self, text: str) -> list[Entity]:
        """Personal data that is not to be kept, in order and without overlaps.

        Of two that overlap, the longer counts, then the one with the higher score.
        """
        types = [name for name, action in self.actions.items() if action != "keep"]
        if not types or not text.strip():
            return []
        results = self.engine.analyze(
            text,
            "en",
            entities=types,
            score_threshold=self.min_score,
            return_decision_process=True,
        )
        entities: list[Entity] = []
        for result in sorted(results, key=_priority):
            entity = self._confirm(result, text)
            if entity and not any(_overlap(entity, longer) for longer in entities):
                entities.append(entity)
        return sorted(entities)

    def _confirm(self, result: Any, text: str) -> Entity | None:
        """The entity of a result of Presidio; None if it only looks personal, or is allowed."""
        span = personal_span(result.entity_type, text, result.start, result.end)
        if span is None:
            return None
        value = text[slice(*span)]
        if result.entity_type == "EMAIL_ADDRESS":
            value = plain_email(value)
        if any(pattern.fullmatch(value) for pattern in self.allow):
            return None
        return Entity(*span, result.entity_type, _explain(result))

    def redact(self, text: str, pseudonyms: Pseudonyms | None = None) -> Redaction:
        """Replace all personal data.

        `pseudonyms` are those of a document, so that a value has one pseudonym in all its parts.
        The text is searched until nothing is left: a replacement changes the words around what
        stands beside it, and they count.
        """
        pseudonyms = {} if pseudonyms is None else pseudonyms
        entities_of_rounds: list[list[Entity]] = []
        rounds: list[list[Shift]] = []
        for _ in range(MAX_ROUNDS):
            entities = self.find_entities(text)
            if not entities:
                break
            text, shifts = self._replace(text, entities, pseudonyms)
            entities_of_rounds.append(entities)
            rounds.append(shifts)
        return Redaction(text, _list_replacements(entities_of_rounds, rounds), rounds)

    def _replace(
        self, text: str, entities: list[Entity], pseudonyms: Pseudonyms
    ) -> tuple[str, list[Shift]]:
        """The text with pseudonyms instead of the entities, and how its characters shifted."""
        new_text = ""
        shifts: list[Shift] = []
        end_of_last = 0
        for entity in entities:
            new_text += text[end_of_last : entity.start]
            new_start = len(new_text)
            new_text += self._pseudonym(entity, text, pseudonyms)
            shifts.append(Shift(entity.start, entity.end, new_start, len(new_text)))
            end_of_last = entity.end
        return new_text + text[end_of_last:], shifts

    def _pseudonym(self, entity: Entity, text: str, pseudonyms: Pseudonyms) -> str:
        """What replaces this value, however it is written."""
        spelling = text[entity.start : entity.end]
        if entity.type == "EMAIL_ADDRESS":
            spelling = plain_email(spelling)
        value = re.sub(r"[\s().-]", "", spelling).lower()
        key = (entity.type, value)
        if key not in pseudonyms:
            pseudonyms[key] = self._new_pseudonym(entity.type, value, pseudonyms)
        return pseudonyms[key]

    def _new_pseudonym(self, entity_type: str, value: str, pseudonyms: Pseudonyms) -> str:
        action = self.actions[entity_type]
        if action == "remove":
            return ""
        if action == "hash":
            message = f"{entity_type}/{value}".encode()
            digest = hmac.new(self.key, message, "sha256").hexdigest()
            letters = digest[:12].translate(DIGITS_TO_LETTERS)
            return f"[{entity_type} {letters}]"
        number = 1 + sum(known_type == entity_type for known_type, _ in pseudonyms)
        return f"[{entity_type} {number}]"


def _list_replacements(
    entities_of_rounds: list[list[Entity]], rounds: list[list[Shift]]
) -> list[Replacement]:
    """Where the replacements of all rounds are in the last text, in order."""
    replacements = []
    for number, entities in enumerate(entities_of_rounds):
        later_rounds = rounds[number + 1 :]
        for entity, shift in zip(entities, rounds[number], strict=True):
            start = _position_after(shift.new_start, later_rounds)
            end = _position_after(shift.new_end, later_rounds)
            replacements.append(Replacement(start, end, entity.type, entity.why))
    return sorted(replacements)


def _explain(result: Any) -> str:
    """The recognizer and what it saw."""
    explanation = result.analysis_explanation
    detail = explanation.pattern_name or explanation.textual_explanation
    context = explanation.supportive_context_word
    reason = f"{explanation.recognizer}: {detail}"
    return f"{reason}, near {context!r}" if context else reason


def _priority(result: Any) -> tuple[int, float, int, str]:
    """Order of Presidio's results: the longest first, then those with the highest scores."""
    return result.start - result.end, -result.score, result.start, result.entity_type


def _overlap(first: Entity, second: Entity) -> bool:
    return first.end > second.start and first.start < second.end


def redact_document(
    redactor: Redactor, row: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What changes in a row of documents.parquet, and what was replaced in its text and title.

    Without personal data are its text, title, headings and pages. Each replacement is a row of
    redactions.parquet without uri and source.
    """
    pseudonyms: Pseudonyms = {}
    body = redactor.redact(row["text"], pseudonyms)
    title = redactor.redact(row["title"] or "", pseudonyms)
    sections = []
    for section in row["sections"]:
        heading = redactor.redact(section["heading"], pseudonyms).text
        start = body.new_position(section["start"])
        end = body.new_position(section["end"])
        sections.append(section | {"heading": heading, "start": start, "end": end})
    changes = {
        "text": body.text,
        "title": title.text if row["title"] else row["title"],
        "sections": sections,
        "pages": [body.new_position(page) for page in row["pages"]],
    }
    return changes, _describe(body, "text") + _describe(title, "title")


def _describe(redaction: Redaction, part: str) -> list[dict[str, Any]]:
    """Where each replacement is in the redacted part, with what stands around it, and why."""
    text = redaction.text
    rows = []
    for replacement in redaction.replacements:
        start, end, entity_type, why = replacement
        row = {
            "type": entity_type,
            "part": part,
            "line": 1 + text.count("\n", 0, start),
            "before": text[max(0, start - CONTEXT_CHARACTERS) : start],
            "replacement": text[start:end],
            "after": text[end : end + CONTEXT_CHARACTERS],
            "why": why,
        }
        rows.append(row)
    return rows


def load(config: RedactConfig) -> Redactor:
    """Presidio with our recognizers.

    Raises UserError if the key of the action `hash` or the model for names is missing.
    """
    actions = dict(config.actions)
    key = os.environ.get(KEY_VARIABLE, "").encode()
    if "hash" in actions.values() and len(key) < MIN_KEY_BYTES:
        raise UserError(
            f"params.yaml: redact.actions: `hash` needs a secret of at least {MIN_KEY_BYTES} "
            f"characters in the environment: {KEY_VARIABLE}. Without one, anybody could try all "
            "telephone numbers. Set it, or use mask"
        )
    names = sorted(name for name in TYPES_OF_NAMES if actions.get(name, "keep") != "keep")
    if names and config.names_model is None:
        raise UserError(
            f"params.yaml: redact.actions: {names[0]} has no form that a pattern knows: name a "
            "spaCy pipeline under redact.names_model, or remove the type"
        )
    engine = recognizers.load_engine(config.names_model)
    supported_types = set(engine.get_supported_entities("en"))
    unsupported_types = sorted(set(actions) - supported_types)
    if unsupported_types:
        raise UserError(
            f"params.yaml: redact.actions: Presidio does not support {unsupported_types[0]}; it "
            f"supports {', '.join(sorted(supported_types))}"
        )
    allow = tuple(map(re.compile, config.allow))
    return Redactor(engine, actions, config.min_score, allow, key)


def personal_data_problem(text: str, redactor: Redactor) -> str | None:
    """What personal data a text of ours holds, and how to keep what is public; None if none."""
    values: set[tuple[str, str]] = set()
    for entity in redactor.find_entities(text):
        values.add((entity.type, text[entity.start : entity.end]))
    if not values:
        return None
    listing = ", ".join(f"{kind} {value!r}" for kind, value in sorted(values))
    # As YAML's single quotes have it, so that the line can be copied.
    patterns = ", ".join(f"'{_escape(value)}'" for _, value in sorted(values))
    return (
        f"holds personal data ({listing}): remove it, or, if it is public, "
        f"add to params.yaml: redact.allow the regular expression {patterns}"
    )


def _escape(value: str) -> str:
    return re.escape(value).replace("'", "''")


def describe_settings(config: RedactConfig) -> str:
    """What a result depends on besides the text: the settings, and a digest of the key if used."""
    key = os.environ.get(KEY_VARIABLE, "") if "hash" in config.actions.values() else ""
    key_digest = hmac.new(key.encode(), b"settings", "sha256").hexdigest()
    return config.model_dump_json() + key_digest
