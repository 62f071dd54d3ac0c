"""Presidio's engine for personal data that has a form, with patterns for what its own ones miss.

The patterns are for card numbers, bank accounts and telephone numbers.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
# What is written like a telephone number, with its score. 0.1 counts only beside a word like
# "call".
PHONES = {
    (
        r"(?<![\w.])(?:\+|00)\d{1,3}[ .-]?(?:\(0?\d{0,4}\)[ .-]?)?\d(?:[ .-]?\d){5,11}"
        r"(?:x\d{1,5})?(?!\w|-\d)"
    ): 0.5,
    r"(?<![\w.)-])\(\d{2,4}\)[ .-]?\d{2,4}(?:[ .-]?\d{2,4}){1,3}(?:x\d{1,5})?(?!\w|-\d)": 0.45,
    r"(?<![\w.-])(?:1[ .-])?\d{3}[.-]\d{3}[.-]\d{4}(?:x\d{1,5})?(?![\w-]|\.\d)": 0.45,
    r"(?<![\w.-])\d{2}(?:[.-]\d{2}){3,4}(?![\w.-])": 0.1,
    r"(?<![\w.-])\d{2,5}(?:[ -]\d{2,6}){1,4}(?:x\d{1,5})?(?!\w|-\d|\.\d)": 0.1,
    r"(?<![\w.-])\d{7,11}(?:x\d{1,5})?(?![\w-]|\.\d)": 0.1,
}
PHONE_WORDS = [
    "phone", "telephone", "tel", "mobile", "cell", "call", "fax", "contact", "dial", "sms",
    "whatsapp", "messages", "answering", "office", "hotline", "reach",
]  # fmt: skip


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
    """Recognizers of card numbers, bank accounts and telephone numbers."""
    from presidio_analyzer import Pattern, PatternRecognizer
    from presidio_analyzer.predefined_recognizers import CreditCardRecognizer

    cards = CreditCardRecognizer(patterns=[Pattern("card number", CARDS, 0.3)], name="CardRanges")
    account_pattern = Pattern("bank account", IBANS, 0.5)
    accounts = PatternRecognizer("IBAN_CODE", name="IbanForms", patterns=[account_pattern])
    accounts.validate_result = has_iban_check  # a single instance needs no class of its own
    phone_patterns = []
    for number, (pattern, score) in enumerate(PHONES.items()):
        phone_patterns.append(Pattern(f"telephone number {number}", pattern, score))
    phones = PatternRecognizer(
        "PHONE_NUMBER", name="PhoneForms", patterns=phone_patterns, context=PHONE_WORDS
    )
    return [cards, accounts, phones]


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
