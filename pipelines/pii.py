"""Knows personal data: finds it with Presidio and replaces it, in documents, training examples and the traffic log alike.

Found are types that have a form: patterns, checksums, and words around them. Names and places have none; they need a spaCy
pipeline (redact.names_model). Nothing is fetched from a network.
"""

import hmac
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.config.redact import Action, RedactConfig
from pipelines.errors import UserError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

MOST_ROUNDS = 8
KEY_VARIABLE = "PII_HASH_KEY"
CODE = (Path(__file__), Path(__file__).parent / "config" / "redact.py")
LIBRARIES = ("phonenumbers", "presidio-analyzer", "spacy")
NAMES = {"PERSON", "LOCATION", "ORGANIZATION", "NRP"}
# Ranges of card numbers (ISO/IEC 7812) that Presidio's own pattern leaves out: Maestro, 19 digits, Mastercard's 2-series. Luhn's digit is checked.
CARDS = r"(?<![\w.-])(?:(?:50|5[6-8]|6\d)(?:[ -]?\d){10,17}|4(?:[ -]?\d){12}(?:(?:[ -]?\d){3}){0,2}|(?:5[1-5]|2[2-7])(?:[ -]?\d){14}|3[47](?:[ -]?\d){13}|3(?:0[0-5]|[68]\d)(?:[ -]?\d){11}|35(?:[ -]?\d){14}|(?:2131|1800)(?:[ -]?\d){11})(?![\w-]|\.\d)"
# Presidio's own IBAN recognizer leaves out whole countries (Spain's standard example is not found); ISO 13616's check digits are checked.
IBANS = r"(?<![\w-])(?-i:[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?)(?![\w-])"  # Presidio ignores case, and would take the next word in
# What is written like a telephone number, and what may be one beside a word such as "call".
PHONES = {
    r"(?<![\w.])(?:\+|00)\d{1,3}[ .-]?(?:\(0?\d{0,4}\)[ .-]?)?\d(?:[ .-]?\d){5,11}(?:x\d{1,5})?(?!\w|-\d)": 0.5,
    r"(?<![\w.)-])\(\d{2,4}\)[ .-]?\d{2,4}(?:[ .-]?\d{2,4}){1,3}(?:x\d{1,5})?(?!\w|-\d)": 0.45,
    r"(?<![\w.-])(?:1[ .-])?\d{3}[.-]\d{3}[.-]\d{4}(?:x\d{1,5})?(?![\w-]|\.\d)": 0.45,
    r"(?<![\w.-])\d{2}(?:[.-]\d{2}){3,4}(?![\w.-])": 0.1,
    r"(?<![\w.-])\d{2,5}(?:[ -]\d{2,6}){1,4}(?:x\d{1,5})?(?!\w|-\d|\.\d)": 0.1,
    r"(?<![\w.-])\d{7,11}(?:x\d{1,5})?(?![\w-]|\.\d)": 0.1,
}
IN_ADDRESS = re.compile(r"[./=_&?#%]\0|\0[/=_]")  # digits beside one of these are a part of an address or identifier
PHONE_WORDS = ["phone", "telephone", "tel", "mobile", "cell", "call", "fax", "contact", "dial", "sms", "whatsapp", "messages", "answering", "office", "hotline", "reach"]

DIGITS_TO_LETTERS = str.maketrans("0123456789", "ghijklmnop")  # so that no code looks like a number


class Find(NamedTuple):
    """Personal data of a type at characters [start, end)."""

    start: int
    end: int
    type: str


@dataclass
class Redacted:
    """A text without what was found. `counts` by type; `moved` gives a character of the old text its place in the new one."""

    text: str
    counts: Counter[str]
    moved: Callable[[int], int]


@dataclass(frozen=True)
class Redactor:
    """Presidio's engine with the settings of params.yaml. `key` is the secret of the action `hash`."""

    engine: "AnalyzerEngine"
    actions: dict[str, Action]
    min_score: float
    allow: tuple[re.Pattern[str], ...]
    key: bytes = field(repr=False)

    def finds(self, text: str) -> list[Find]:
        """Personal data that is not to be kept, in order, without overlaps: of two that overlap the longer, then the surer one counts."""
        wanted = [name for name, action in self.actions.items() if action != "keep"]
        if not wanted or not text.strip():
            return []
        raw = self.engine.analyze(text, "en", entities=wanted, score_threshold=self.min_score)
        ordered = sorted(raw, key=lambda item: (item.start - item.end, -item.score, item.start, item.entity_type))
        kept: list[Find] = []
        for find in (Find(item.start, item.end, item.entity_type) for item in ordered):
            value = text[find.start : find.end]
            if find.type == "PHONE_NUMBER" and IN_ADDRESS.search(text[max(0, find.start - 1) : find.end + 1].replace(value, "\0", 1)):
                continue
            if not any(pattern.fullmatch(value) for pattern in self.allow) and all(find.end <= other.start or find.start >= other.end for other in kept):
                kept.append(find)
        return sorted(kept)

    def redact(self, text: str, names: dict[tuple[str, str], str] | None = None) -> Redacted:
        """Replace what is found. `names` holds a document's pseudonyms, (type, value) -> name, so that a value has one name in all its parts.

        Looks again until nothing is found: a replacement changes the words around what stands beside it, and they count.
        """
        names = {} if names is None else names
        counts: Counter[str] = Counter()
        rounds: list[list[Shift]] = []
        for _ in range(MOST_ROUNDS):
            finds = self.finds(text)
            if not finds:
                break
            text, shifts = self._replaced(text, finds, names)
            counts.update(find.type for find in finds)
            rounds.append(shifts)
        return Redacted(text, counts, lambda position: _moved(position, rounds))

    def _replaced(self, text: str, finds: list[Find], names: dict[tuple[str, str], str]) -> "tuple[str, list[Shift]]":
        """The text with names instead of the finds, and where its characters went."""
        pieces: list[str] = []
        shifts: list[Shift] = []
        place = length = 0
        for find in finds:
            name = self._name(find.type, text[find.start : find.end], names)
            pieces += [text[place : find.start], name]
            begins = length + find.start - place
            length, place = begins + len(name), find.end
            shifts.append(Shift(find.start, find.end, begins, length))
        return "".join([*pieces, text[place:]]), shifts

    def _name(self, kind: str, value: str, names: dict[tuple[str, str], str]) -> str:
        """What stands in the text for this value."""
        plain = re.sub(r"[\s().-]", "", value).lower()
        if (kind, plain) not in names:
            action = self.actions[kind]
            if action == "hash":
                letters = hmac.new(self.key, f"{kind}/{plain}".encode(), "sha256").hexdigest()[:12].translate(DIGITS_TO_LETTERS)
                names[kind, plain] = f"[{kind} {letters}]"
            else:
                number = 1 + sum(other == kind for other, _ in names)
                names[kind, plain] = "" if action == "remove" else f"[{kind} {number}]"
        return names[kind, plain]


class Shift(NamedTuple):
    """Characters [start, end) of the old text are [begins, ends) of the new one."""

    start: int
    end: int
    begins: int
    ends: int


def _moved(position: int, rounds: list[list[Shift]]) -> int:
    """Where a character of the first text is in the last one; the start of the name that stands for it, where it was replaced."""
    for shifts in rounds:
        before = [shift for shift in shifts if shift.start < position]
        if before:
            position = before[-1].begins if position < before[-1].end else position - before[-1].end + before[-1].ends
    return position


def document(redactor: Redactor, row: dict[str, Any]) -> tuple[dict[str, Any], Counter[str]]:
    """Text, title, headings and pages of a row of documents.parquet without personal data; the counts are the text's and title's."""
    names: dict[tuple[str, str], str] = {}
    body = redactor.redact(row["text"], names)
    title = redactor.redact(row["title"] or "", names)
    sections = [{**section, "heading": redactor.redact(section["heading"], names).text, "start": body.moved(section["start"]), "end": body.moved(section["end"])} for section in row["sections"]]
    changed = {"text": body.text, "title": title.text if row["title"] else row["title"], "sections": sections, "pages": [body.moved(page) for page in row["pages"]]}
    return changed, body.counts + title.counts


def load(config: RedactConfig) -> Redactor:
    """Presidio with our recognizers. Raises UserError where the key of the action `hash` or the names' model is missing."""
    key = os.environ.get(KEY_VARIABLE, "").encode()
    if "hash" in config.actions.values() and len(key) < 16:
        raise UserError(
            f"params.yaml: redact.actions: `hash` needs a secret of at least 16 characters in the environment: {KEY_VARIABLE}. Without one, anybody could try all telephone numbers. Set it, or use mask"
        )
    named = sorted(NAMES & {name for name, action in config.actions.items() if action != "keep"})
    if named and config.names_model is None:
        raise UserError(f"params.yaml: redact.actions: {named[0]} has no form that a pattern knows: name a spaCy pipeline under redact.names_model, or remove the type")
    engine = _engine(config.names_model)
    known = set(engine.get_supported_entities("en"))
    unknown = sorted(set(config.actions) - known)
    if unknown:
        raise UserError(f"params.yaml: redact.actions: Presidio knows no type {unknown[0]}; it knows {', '.join(sorted(known))}")
    return Redactor(engine, dict(config.actions), config.min_score, tuple(map(re.compile, config.allow)), key)


def settings(config: RedactConfig) -> str:
    """What a result depends on besides the text: the settings, and a digest of the secret where it is used."""
    key = os.environ.get(KEY_VARIABLE, "") if "hash" in config.actions.values() else ""
    return config.model_dump_json() + hmac.new(key.encode(), b"settings", "sha256").hexdigest()


@contextmanager
def _unimportable(*names: str) -> Iterator[None]:
    """These packages cannot be imported meanwhile, but for those that are already: Presidio and spaCy import them where they can, for engines that are not used here."""
    absent: dict[str, Any] = {name: None for name in names if name not in sys.modules}
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _engine(names_model: str | None) -> "AnalyzerEngine":
    """An engine of patterns and checksums, and of the spaCy pipeline's names where there is one. It never downloads a model."""
    with _unimportable(*(("torch", "transformers") if names_model is None else ())):  # 2.5 s of processor time instead of 10.9
        return _made_engine(names_model)


def _made_engine(names_model: str | None) -> "AnalyzerEngine":
    import tldextract
    from presidio_analyzer import AnalyzerEngine, Pattern, PatternRecognizer, RecognizerRegistry
    from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import CreditCardRecognizer

    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)  # it warns of every label that its settings do not map
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)  # else the e-mail recognizer fetches a list from the network
    languages = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": names_model or "blank"}])
    languages.nlp = {"en": _pipeline(names_model)}
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=languages)
    if names_model is None:
        registry.remove_recognizer("SpacyRecognizer")
    registry.add_recognizer(CreditCardRecognizer(patterns=[Pattern("card number", CARDS, 0.3)], name="CardRanges"))
    accounts = PatternRecognizer("IBAN_CODE", name="IbanForms", patterns=[Pattern("bank account", IBANS, 0.5)])
    accounts.validate_result = has_iban_check  # an instance of its own needs no class of its own
    registry.add_recognizer(accounts)
    patterns = [Pattern(f"telephone number {number}", pattern, score) for number, (pattern, score) in enumerate(PHONES.items())]
    registry.add_recognizer(PatternRecognizer("PHONE_NUMBER", name="PhoneForms", patterns=patterns, context=PHONE_WORDS))
    enhancer = LemmaContextAwareEnhancer(context_prefix_count=8, context_suffix_count=4, context_matching_mode="whole_word")
    return AnalyzerEngine(registry=registry, nlp_engine=languages, context_aware_enhancer=enhancer, supported_languages=["en"])


def has_iban_check(text: str) -> bool:
    """Whether the remainder of the rearranged account number by 97 is 1 (ISO 7064)."""
    plain = re.sub(r"[ -]", "", text)
    return 15 <= len(plain) <= 34 and int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def _pipeline(names_model: str | None) -> Any:
    """spaCy's tokenizer with words as their own lemmas, or the user's pipeline."""
    import spacy
    from spacy.language import Language

    if names_model is None:
        made = spacy.blank("en")
        made.vocab["call"].is_stop = False  # stop words are no context
        if not Language.has_factory("words_as_lemmas"):
            Language.component("words_as_lemmas", func=_words_as_lemmas)
        made.add_pipe("words_as_lemmas")
    else:
        if not (spacy.util.is_package(names_model) or Path(names_model).is_dir()):
            raise UserError(f"params.yaml: redact.names_model: {names_model} is neither an installed package nor a folder with a spaCy pipeline")
        try:
            made = spacy.load(names_model)
        except (OSError, ValueError) as error:
            raise UserError(f"params.yaml: redact.names_model: {names_model} is no spaCy pipeline that this spaCy loads: {error}") from error
    made.max_length = 1 << 31  # spaCy's bound is for parsers; documents are bounded by ingest.limits
    return made


def _words_as_lemmas(doc: Any) -> Any:
    """Presidio compares the words around a find by their lemmas."""
    for token in doc:
        token.lemma_ = token.lower_
    return doc
