"""Finds telephone numbers by their form and by the words beside them.

Manuals are full of digits: identifiers, ranges, byte counts, epoch seconds. So a number counts by
its form alone only if few things but telephone numbers have that form; any other needs a label
("Fax:") or a phrase ("call me at") directly beside it.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from pipelines.corpus.placeholders import is_placeholder_phone

CERTAIN = 0.5
LABELED = 0.45
UNCERTAIN = 0.1  # found only with a lower redact.min_score
NUM_DIGITS = range(7, 16)  # E.164 allows 15
CUE_CHARACTERS = 70  # looked at before a number

EXTENSION = r"(?:(?:,? ?(?:x|ext\.? ?))\d{1,6})?"
END = rf"{EXTENSION}(?!\w|[-/]\d|[.,:]\d)"
START = r"(?<![\w./\\+=~^-])(?<!\d[,:])"
INTERNATIONAL = re.compile(
    r"(?<![\w.+])(?:\+ ?|00)[1-9]\d{0,2}[ ./-]{0,2}(?:\(0?\d{0,4}\)[ .-]?)?"
    rf"\d(?:[ ./-]?\d){{4,12}}{END}"
)
# North America: an area code begins with 2 to 9, and with dots or blanks the next group must too.
AMERICAN = re.compile(
    r"(?<![\w.-])(?:1[ .-])?"
    r"(?:[2-9]\d\d(?:-\d{3}-|\.[2-9]\d\d\.)|\([2-9]\d\d\) ?[2-9]\d\d[ .-])\d{4}"
    rf"{EXTENSION}(?![\w-]|[.,:]\d)"
)
# What is a telephone number only if words beside it say so.
GROUPS = re.compile(
    rf"{START}(?:"
    r"\(\d{2,5}\)[ ./-]?\d{2,9}(?:[ .-]\d{2,5}){0,3}"
    r"|\d{2,5}(?:[ .-]\d{2,8}){1,5}"
    r"|0\d{1,5}/\d{3,10}"
    rf"){END}"
)
BARE = re.compile(rf"{START}\d{{7,12}}{END}")

# The digit before an area code, or an area code in parentheses; at least nine digits in all. With
# dots it may be a version.
NATIONAL_START = re.compile(r"(?=(?:[^\d.]*\d){9})(?:0[1-9]\d*[ -]\d|\(\d{2,5}\) ?\d+[ -]\d)")

# Words that mean nothing but a telephone; the number may follow directly.
PHONE_WORD = (
    r"(?:tele)?phone|telefax|fax|tel|whats ?app|hotline|landline"
    r"|t[eé]l[eé]fono|t[eé]l[eé]phone|telefon|telefone|telefono|t[eé]l"
)
# Words that also mean something else; a colon or an equals sign must follow.
OTHER_WORD = (
    r"mobile|mobil|cell(?:ular)?|handy|m[oó]vil|desk|office|home|work|direct|daytime|evening|sms"
)
NUMBER_WORD = r"(?:[ _-]?(?:numbers?|no|nr|num))?s?\.?"
DECORATION = r"[\s|\"'*_`>\[(]"  # of Markdown, tables and JSON, between a label and its number
LABEL = re.compile(
    rf"(?i:(?:(?<![^\W_])(?:{PHONE_WORD})|(?<=[a-z])(?-i:Phone|Fax|Telephone)){NUMBER_WORD}"
    rf"(?: ?\([a-z ]+\))?{DECORATION}{{0,4}}(?:[:=]|is\b|are\b|at\b|on\b|to\b)?{DECORATION}{{0,4}}"
    rf"|(?<![^\W_])(?:{OTHER_WORD}){NUMBER_WORD}{DECORATION}{{0,4}}[:=]{DECORATION}{{0,4}}"
    r"|\b(?:my|your|his|her|our|their|contact|callback|support|hotline) numbers?(?: is|:) ?)$"
)
PERSON = r"(?:me|us|him|her|them|you)"
# To somebody at a number: the number may have any form.
PHRASE_WITH_PERSON = re.compile(
    rf"(?i:\b(?:call|phone|ring|text|reach|contact|message|fax|dial) {PERSON}(?: back)?"
    r"(?: please)?(?: (?:at|on|under|via))?:? )$"
)
PHRASE = re.compile(
    r"(?i:\b(?:call|phone|ring|reach|contact|text|answering|messages|calls|texts|faxes)\b"
    r"[^.:;?!\n]{0,30}? (?:at|on|to|under)|\bdial):? $"
)
# After a phrase the number ends the thought: "reach 10 200 300 users" is no telephone number.
END_OF_THOUGHT = re.compile(
    r"(?i:\s*(?:$|[.;!?)\]\"'\n]|, ?(?!\d)|(?:and|or|if|please|today|now|anytime|before|after"
    r"|between|during|for|from|as soon|i|we)\b))"
)
# "416 60 039 office"
LABEL_BEHIND = re.compile(
    r"(?i:[ -]\(?(?:office|fax|mobile|cell|home|work|phone|tel|desk|direct|landline)\b)"
    r"(?=\W*(?:$|[\n.,;|)\\]))"
)
UNIT = re.compile(
    r"(?i:[ -]?(?:[nµm]?s|secs?|seconds?|min|minutes?|hours?|days?|weeks?|years?|[kmgt]?i?b"
    r"|bytes?|bits?|[kmg]?hz|[kmg]bps|px|mm|cm|km|m|kg|rows?|items?|tokens?|users?)\b|[ ]?[%°×])"
)
DATES = re.compile(
    r"(?:19|20)\d\d ?[-.] ?(?:19|20)\d\d"  # of years
    r"|(?:19|20)\d\d([-. ])[01]?\d\1[0-3]?\d(?: .*)?"
    r"|[0-3]?\d([-. ])[0-3]?\d\2(?:19|20)\d\d(?: .*)?"
)


class Phone(NamedTuple):
    """A telephone number at characters [start, end). `why` holds no digit of it."""

    start: int
    end: int
    score: float
    why: str


def find_phones(text: str) -> Iterator[Phone]:
    """All that may be telephone numbers, also those that nothing beside them confirms.

    They may overlap.
    """
    for match in INTERNATIONAL.finditer(text):
        yield _judge(text, match, "its country code" if _has_country(match[0]) else None)
    for match in AMERICAN.finditer(text):
        yield _judge(text, match, "its North American form")
    for match in GROUPS.finditer(text):
        yield _judge(text, match, "a country's form" if _has_national_form(text, match) else None)
    for match in BARE.finditer(text):
        yield _judge(text, match, None)


def _judge(text: str, match: re.Match[str], form: str | None) -> Phone:
    start, end = match.span()
    if not _is_possible(text, match):
        return Phone(start, end, UNCERTAIN, "digits")
    if form is not None and not _is_part_of_identifier(text, start, end):
        return Phone(start, end, CERTAIN, form)
    cue = _find_cue(text, match)
    if cue is None:
        return Phone(start, end, UNCERTAIN, "digits")
    return Phone(start, end, LABELED, f"beside {cue!r}")


def _has_country(number: str) -> bool:
    """Whether it begins with a country's code and has as many digits as numbers there have.

    Without blanks or dashes, or without a plus, it must be a number that is in use there: also
    "+1000000000" is written so.
    """
    import phonenumbers

    is_written_with_plus = number.startswith("+")
    international = number if is_written_with_plus else f"+{number[2:]}"
    try:
        telephone = phonenumbers.parse(international, None)
    except phonenumbers.NumberParseException:
        return False
    has_groups = len(re.findall(r"\d+", number)) > 2
    if is_written_with_plus and has_groups:
        return phonenumbers.is_possible_number(telephone)
    return phonenumbers.is_valid_number(telephone) and (is_written_with_plus or has_groups)


def _has_national_form(text: str, match: re.Match[str]) -> bool:
    """Whether it begins like a national number, and stands in no row of numbers."""
    start, end = match.span()
    is_in_row = re.search(r"[\d)] ?$", text[max(0, start - 2) : start]) or re.match(
        r" ?[\d(]", text[end : end + 2]
    )
    has_prefix = NATIONAL_START.match(match[0])
    return not is_in_row and has_prefix is not None and _is_grouped_as_somewhere(match[0])


@lru_cache(maxsize=4096)
def _is_grouped_as_somewhere(number: str) -> bool:
    """Whether it is in use in a country, and its digits are grouped as they are written there."""
    import phonenumbers

    groups = re.findall(r"\d+", number)
    for region in phonenumbers.SUPPORTED_REGIONS:
        try:
            telephone = phonenumbers.parse(number, region)
        except phonenumbers.NumberParseException:
            continue
        if not phonenumbers.is_valid_number_for_region(telephone, region):
            continue
        form = phonenumbers.format_number(telephone, phonenumbers.PhoneNumberFormat.NATIONAL)
        if re.findall(r"\d+", form) == groups:
            return True
    return False


def _is_possible(text: str, match: re.Match[str]) -> bool:
    """Whether it has the digits of a telephone number and is neither a date nor an example."""
    number = re.split(r"(?i:,? ?(?:x|ext))", match[0])[0]
    digits = re.sub(r"\D", "", number)
    if len(digits) not in NUM_DIGITS or is_placeholder_phone(number):
        return False
    if DATES.fullmatch(number) or UNIT.match(text, match.end()):
        return False
    is_round = re.fullmatch(r"\d{1,3}([ .]\d{3})*[ .]000|\d+0{5}|[1-9]\d*0-[1-9]\d*0", number)
    return not is_round and not _is_near_power_of_two(number)


def _is_near_power_of_two(number: str) -> bool:
    """Whether it is a bound of an integer type, such as 2147483647."""
    if not number.isdigit():
        return False
    value = int(number)
    return any(not near & (near - 1) for near in (value - 1, value, value + 1))


def _is_part_of_identifier(text: str, start: int, end: int) -> bool:
    """Whether a URL, a path or a name goes on beside it."""
    before = text[max(0, start - 1) : start]
    after = text[end : end + 1]
    return before in tuple("./=_&?#%-~") or after in tuple("/=_")


def _find_cue(text: str, match: re.Match[str]) -> str | None:
    """The words beside a number that say that it is one."""
    start, end = match.span()
    before = text[max(0, start - CUE_CHARACTERS) : start]
    is_bare = match[0].isdigit()
    patterns = [LABEL, PHRASE_WITH_PERSON]
    if not is_bare and not _is_range(match[0]) and END_OF_THOUGHT.match(text, end):
        patterns.append(PHRASE)
    for pattern in patterns:
        cue = pattern.search(before)
        if cue:
            return re.sub(r"[\W_]+", " ", cue[0]).strip()
    label = None if is_bare else LABEL_BEHIND.match(text, end)
    return label[0].strip(" -(") if label else None


def _is_range(number: str) -> bool:
    """Whether it reads as "from a to b"."""
    bounds = re.fullmatch(r"(\d+)-(\d+)", number)
    return bounds is not None and int(bounds[1]) < int(bounds[2])
