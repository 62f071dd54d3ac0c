"""Writes numbers of Excel with the units that their number format shows.

The value keeps its digits: a format that rounds 15.34 % to 15 % shows no more than a view of it.
"""

import datetime
import re
from functools import lru_cache
from typing import NamedTuple

SIGNIFICANT_DIGITS = 15  # that Excel keeps; more are noise of binary fractions
MAX_INTEGER = 10**15  # up to here a whole number is written with all its digits
TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?'
    r"|\\(?P<escaped>.)"
    r"|[_*](?P<blank>.)"
    r"|\[\$(?P<currency>[^\]-]*)[^\]]*\]"
    r"|\[(?P<condition>[^\]]*)\]"
    r"|(?P<general>General)"
    r"|(?P<digits>[0#?](?:[0#?,]*[0#?])?(?:\.[0#?]*)?)"
    r"|(?P<exponent>[Ee][-+]\d*0?)"
    r"|(?P<other>.)",
    re.DOTALL,
)
CLOCK = re.compile(r"[hs]|\[m+\]", re.IGNORECASE)
CALENDAR = re.compile(r"[yd]|mmm", re.IGNORECASE)


class Layout(NamedTuple):
    """What a number format writes around the digits."""

    prefix: str = ""
    suffix: str = ""
    num_percents: int = 0
    num_thousands: int = 0  # times that the value is divided by 1,000
    pattern: str = ""  # of digits with marks between them, such as 000-00-0000


def format_number(value: float, number_format: str) -> str:
    """A number as its format shows it: `15%`, `$12.5`, `00042`, `3 kg`."""
    layout = read_layout(number_format)
    is_whole = float(value).is_integer() and 0 <= value < MAX_INTEGER
    if layout.pattern and is_whole:
        return layout.prefix + _fill_pattern(int(value), layout.pattern) + layout.suffix
    scaled_value = value * 100**layout.num_percents / 1000**layout.num_thousands
    sign = "-" if scaled_value < 0 else ""
    return f"{sign}{layout.prefix}{plain_number(abs(scaled_value))}{layout.suffix}"


def plain_number(value: float) -> str:
    """A number without a format."""
    rounded_value = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if rounded_value.is_integer() and abs(rounded_value) < MAX_INTEGER:
        return str(int(rounded_value))
    return f"{value:.{SIGNIFICANT_DIGITS}g}"


@lru_cache(maxsize=1024)
def read_layout(number_format: str) -> Layout:
    """What the first section of a format, that of positive numbers, writes around the digits."""
    prefix = ""
    between = ""
    patterns: list[str] = []
    num_percents = 0
    num_thousands = 0
    for match in TOKEN.finditer(_first_section(number_format)):
        kind = str(match.lastgroup)
        text = match[kind]
        if kind in ("digits", "general"):
            patterns += [between, text] if patterns else [text]
            between = ""
        elif kind in ("quoted", "escaped", "currency") or (kind == "other" and text not in ",%@"):
            if patterns:
                between += text
            else:
                prefix += text
        elif text == "%":
            num_percents += 1
            between += text if patterns else ""
        elif text == "," and patterns:
            num_thousands += 1
        elif kind == "blank" and text == " " and patterns:
            between += " "
    pattern = _digit_pattern(patterns)
    if not patterns or "/" in patterns:
        return Layout(num_percents=num_percents)
    return Layout(prefix, between.rstrip(), num_percents, num_thousands, pattern)


def _first_section(number_format: str) -> str:
    return re.split(r';(?=(?:[^"]*"[^"]*")*[^"]*$)', number_format)[0]


def _digit_pattern(patterns: list[str]) -> str:
    """The pattern of a format of fixed digits; empty for one of a quantity."""
    digits = patterns[::2]
    is_fixed = all(re.fullmatch("0+", text) for text in digits)
    return "".join(patterns) if is_fixed and len("".join(digits)) > 1 else ""


def _fill_pattern(value: int, pattern: str) -> str:
    digits = list(str(value).zfill(pattern.count("0")))
    text = ""
    for character in reversed(pattern):
        text = (digits.pop() if character == "0" and digits else character) + text
    return "".join(digits) + text


def format_date(moment: object, number_format: str) -> str:
    """A date, time or duration in ISO 8601, without a time that the format does not show."""
    if isinstance(moment, datetime.datetime):
        shows_time = CLOCK.search(_bare(number_format)) is not None
        shows_date = CALENDAR.search(_bare(number_format)) is not None
        is_midnight = moment.time() == datetime.time()
        if shows_time and not shows_date:
            return _format_time(moment.time())
        if is_midnight and not shows_time:
            return moment.date().isoformat()
        return f"{moment.date().isoformat()} {_format_time(moment.time())}"
    if isinstance(moment, datetime.time):
        return _format_time(moment)
    return _format_duration(moment) if isinstance(moment, datetime.timedelta) else str(moment)


def _format_duration(duration: datetime.timedelta) -> str:
    """Hours, minutes and, if there are some, seconds: `30:00`, as the format `[h]:mm` shows it."""
    num_seconds = round(abs(duration).total_seconds())
    sign = "-" if duration < datetime.timedelta() else ""
    minutes, seconds = divmod(num_seconds, 60)
    text = f"{sign}{minutes // 60}:{minutes % 60:02}"
    return f"{text}:{seconds:02}" if seconds else text


def _format_time(time: datetime.time) -> str:
    has_seconds = time.second or time.microsecond
    return time.isoformat("seconds" if has_seconds else "minutes")


def _bare(number_format: str) -> str:
    return re.sub(
        r'"[^"]*"|\\.|\[\$[^\]]*\]|\[(black|red|blue|white|green|yellow|cyan|magenta)\]',
        "",
        number_format,
        flags=re.IGNORECASE,
    )
