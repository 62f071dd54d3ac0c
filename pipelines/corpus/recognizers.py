"""Presidio's engine for personal data that has a form, with recognizers for what its own ones miss.

They are for card numbers, bank accounts, telephone numbers and hidden e-mail addresses.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.corpus.hidden_emails import find_hidden_emails
from pipelines.corpus.phones import find_phones
from pipelines.errors import UserError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer

# Ranges of card numbers (ISO/IEC 7812), also those that Presidio's own pattern leaves out: Maestro,
# 19 digits, Mastercard's 2-series. Luhn's digit is checked.
CARDS = (
    r"(?<![\w.-])(?:"
    r"(?:50|5[6-8]|6\d)(?:[ -]?\d){10,17}"
    r"|4(?:[ -]?\d){12}(?:(?:[ -]?\d){3}){0,2}"
    r"|(?:5[1-5]|2[2-7])(?:[ -]?\d){14}"
    r"|3[47](?:[ -]?\d){13}"
    r"|3(?:0[0-5]|[68]\d)(?:[ -]?\d){11}"
    r"|35(?:[ -]?\d){14}"
    r"|(?:2131|1800)(?:[ -]?\d){11}"
    r")(?![\w-]|\.\d)"
)
# Presidio's own IBAN recognizer leaves out whole countries (it misses Spain's standard example);
# the check digits of ISO 13616 are checked. Presidio ignores case, and would include the next word.
IBANS = (
    r"(?<![\w-])(?-i:"
    r"[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?"
    r")(?![\w-])"
)

HIDDEN_EMAIL_SCORE = 0.5


def load_engine(names_model: str | None) -> "AnalyzerEngine":
    """An engine of patterns and checksums, and of the spaCy pipeline's names if there is one.

    It never downloads a model. Without torch, patterns load in 2.5 s of processor time instead of
    10.9.
    """
    engines_not_needed = ("torch", "transformers") if names_model is None else ()
    with _block_imports(*engines_not_needed):
        return _build_engine(names_model)


@contextmanager
def _block_imports(*packages: str) -> Iterator[None]:
    """Make these packages unavailable, except those imported already.

    Presidio and spaCy import them if they can, for engines that are not used here.
    """
    blockers: dict[str, Any] = {name: None for name in packages if name not in sys.modules}
    sys.modules.update(blockers)
    try:
        yield
    finally:
        for name in blockers:
            del sys.modules[name]


def _build_engine(names_model: str | None) -> "AnalyzerEngine":
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    # It warns of every label that its settings do not map.
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    # Otherwise the e-mail recognizer fetches a list from the network.
    offline_extractor = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    tldextract.tldextract.TLD_EXTRACTOR = offline_extractor
    languages = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": names_model or "blank"}])
    languages.nlp = {"en": _load_spacy_pipeline(names_model)}
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=languages)
    # Of 16 finds of its own in 281 pages of technical documentation all were false.
    registry.remove_recognizer("PhoneRecognizer")
    # Its weakest pattern takes any row of 12 to 19 digits: one in ten serial numbers passes Luhn.
    registry.remove_recognizer("CreditCardRecognizer")
    if names_model is None:
        registry.remove_recognizer("SpacyRecognizer")
    for recognizer in _own_recognizers():
        registry.add_recognizer(recognizer)
    enhancer = LemmaContextAwareEnhancer(
        context_prefix_count=8, context_suffix_count=4, context_matching_mode="whole_word"
    )
    return AnalyzerEngine(
        registry=registry,
        nlp_engine=languages,
        context_aware_enhancer=enhancer,
        supported_languages=["en"],
    )


def _own_recognizers() -> "list[EntityRecognizer]":
    """Recognizers of card numbers, bank accounts, telephone numbers and hidden addresses."""
    from presidio_analyzer import Pattern, PatternRecognizer
    from presidio_analyzer.predefined_recognizers import CreditCardRecognizer

    cards = CreditCardRecognizer(patterns=[Pattern("card number", CARDS, 0.3)], name="CardRanges")
    account_pattern = Pattern("bank account", IBANS, 0.5)
    accounts = PatternRecognizer("IBAN_CODE", name="IbanForms", patterns=[account_pattern])
    accounts.validate_result = has_iban_check  # a single instance needs no class of its own
    phones = _function_recognizer("PHONE_NUMBER", "PhoneForms", _phone_matches)
    hidden_emails = _function_recognizer("EMAIL_ADDRESS", "HiddenEmails", _hidden_email_matches)
    return [cards, accounts, phones, hidden_emails]


class Match(NamedTuple):
    """What a function of ours takes for personal data. `why` holds nothing of its value."""

    start: int
    end: int
    score: float
    why: str


def _phone_matches(text: str) -> Iterator[Match]:
    for phone in find_phones(text):
        yield Match(*phone)


def _hidden_email_matches(text: str) -> Iterator[Match]:
    for start, end in find_hidden_emails(text):
        yield Match(start, end, HIDDEN_EMAIL_SCORE, "signs written as words")


def _function_recognizer(
    entity_type: str, name: str, find: Callable[[str], Iterator[Match]]
) -> "EntityRecognizer":
    """A recognizer that is more than a pattern."""
    from presidio_analyzer import AnalysisExplanation, LocalRecognizer, RecognizerResult

    class FunctionRecognizer(LocalRecognizer):  # type: ignore[misc]  # Presidio is not typed
        def load(self) -> None:
            """Nothing to load."""

        def analyze(self, text: str, entities: list[str], nlp_artifacts: Any) -> list[Any]:
            results = []
            metadata = {
                RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
                RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
            }
            for match in find(text):
                explanation = AnalysisExplanation(name, match.score, textual_explanation=match.why)
                results.append(
                    RecognizerResult(
                        entity_type, match.start, match.end, match.score, explanation, metadata
                    )
                )
            return results

    return FunctionRecognizer(supported_entities=[entity_type], name=name)


def has_iban_check(text: str) -> bool:
    """Whether the rearranged account number modulo 97 is 1 (ISO 7064)."""
    characters = re.sub(r"[ -]", "", text)
    if not 15 <= len(characters) <= 34:
        return False
    turned_characters = characters[4:] + characters[:4]
    digits = "".join(str(int(character, 36)) for character in turned_characters)
    return int(digits) % 97 == 1


def _load_spacy_pipeline(names_model: str | None) -> Any:
    """The user's pipeline; without one, spaCy's tokenizer with words as their own lemmas."""
    pipeline = _blank_pipeline() if names_model is None else _load_names_model(names_model)
    # spaCy's bound is meant for parsers; documents are bounded by ingest.limits.
    pipeline.max_length = 1 << 31
    return pipeline


def _blank_pipeline() -> Any:
    import spacy
    from spacy.language import Language

    pipeline = spacy.blank("en")
    pipeline.vocab["call"].is_stop = False  # stop words are no context
    if not Language.has_factory("words_as_lemmas"):
        Language.component("words_as_lemmas", func=_words_as_lemmas)
    pipeline.add_pipe("words_as_lemmas")
    return pipeline


def _words_as_lemmas(doc: Any) -> Any:
    """Presidio compares the words around an entity by their lemmas."""
    for token in doc:
        token.lemma_ = token.lower_
    return doc


def _load_names_model(names_model: str) -> Any:
    import spacy

    if not (spacy.util.is_package(names_model) or Path(names_model).is_dir()):
        raise UserError(
            f"params.yaml: redact.names_model: {names_model} is neither an installed package nor a "
            "folder with a spaCy pipeline"
        )
    try:
        return spacy.load(names_model)
    except (OSError, ValueError) as error:
        raise UserError(
            f"params.yaml: redact.names_model: {names_model} is not a spaCy pipeline that the "
            f"installed spaCy can load: {error}"
        ) from error
