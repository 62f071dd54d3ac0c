"""Finds e-mail addresses that are written so that a program does not see them: name (at) host."""

import re
from collections.abc import Iterator

OPEN, CLOSE = r"\s?[\[({<]\s?", r"\s?[\])}>]\s?"
AT = rf"(?:{OPEN}(?:at|@|ät){CLOSE}|&#0*64;|&#x0*40;|&commat;)"
DOT = rf"(?:{OPEN}(?:dot|punkt|point|\.){CLOSE})"
LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
NAME = rf"(?<![\w@.+-])[a-z0-9_+-]+(?:(?:\.|{DOT})[a-z0-9_+-]+)*"
FORMS = (
    # The sign is hidden, the dots may be.
    re.compile(rf"(?i:{NAME}{AT}{LABEL}(?:(?:\.|{DOT}| dot ){LABEL})+)(?![\w@])"),
    # The dots are hidden.
    re.compile(rf"(?i:{NAME}@{LABEL}(?:\.{LABEL})*(?:{DOT}{LABEL})+)(?![\w@])"),
    # "ada at lovelace dot dev"; in capitals within a sentence as well.
    re.compile(
        rf"(?:{NAME.replace('a-z', 'A-Za-z')}) (?:at|AT) "
        rf"(?i:{LABEL})(?: (?:dot|DOT) (?i:{LABEL}))+(?![\w@])"
    ),
)
# "It is hosted at example dot com" names a site.
VERBS = re.compile(
    r"(?i:us|me|it|is|are|here|there|page|site|blog|live|look|visit|hosted|available|located"
    r"|online|website|docs|documentation) "
)


def find_hidden_emails(text: str) -> Iterator[tuple[int, int]]:
    """Characters [start, end) of each."""
    for form in FORMS:
        for match in form.finditer(text):
            is_site = VERBS.match(match[0])
            if not is_site and _has_public_suffix(plain_email(match[0])):
                yield match.span()


def plain_email(spelling: str) -> str:
    """The address as it is used; one that hides nothing is unchanged."""
    text = re.sub(rf"(?i:{AT})|(?: (?:at|AT) )", "@", spelling)
    return re.sub(rf"(?i:{DOT})|(?: (?:dot|DOT) )", ".", text)


def _has_public_suffix(address: str) -> bool:
    import tldextract

    return bool(tldextract.extract(address.partition("@")[2]).fqdn)
