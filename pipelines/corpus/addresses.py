"""Decides whether what has the form of an address or a card number is one that a person has.

Documentation is full of look-alikes: versions, networks, fingerprints, logins, handles in URLs.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_interface

from pipelines.corpus.placeholders import is_counted, is_placeholder_ip, is_placeholder_mac

Span = tuple[int, int]

CONTEXT_CHARACTERS = 60
# Versions have few larger parts; of random addresses, one in 4,096 has none.
LARGEST_VERSION_PART = 31
GLOBAL_IPV6 = range(0x2000, 0x4000)  # first 16 bits of the global unicast addresses (RFC 4291)
INTERFACE_BITS = (1 << 64) - 1  # of an IPv6 address; without any it is a network
VERSION_WORD = re.compile(
    r"(?i:\b(?:versions?|ver|v|releases?|build|patch|firmware|driver|upgrade|update|since|oid"
    r"|section|chapter)\b(?: to| from| number| is)?[ .:=\"'`*_(]{0,4}|\bv"
    r"|[<>~!=]= ?|(?<![\w/.:@-])[a-z][\w-]*/)$"
)
IP_WORD = re.compile(
    r"(?i:(?:\b|_)(?:ips?|ipv4|addr|address(?:es)?|ping|ssh|nameserver|gateway)\b[^.\n]{0,40})$"
)
MIN_CARD_DIGITS = 14  # that count without a word such as "card" before them
CARD_WORD = re.compile(
    r"(?i:\b(?:cards?|cc|credit|debit|visa|mastercard|maestro|amex|pan|payment|account)\b)"
)
CARD_GROUPS = re.compile(r"\d+|(?:\d{4}[ -]){2,4}\d{1,4}|\d{4}[ -]\d{6}[ -]\d{4,5}")
URL_BEFORE = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>]*$", re.IGNORECASE)
LOCAL_PART = re.compile(r"(?:(?<![\w=])[A-Za-z]')?[\w+.%-]*[\w+-]$")
MESSAGE_ID = re.compile(
    r"(?i:\b(?:message-id|in-reply-to|references|content-id)\b:?[^\n]*|\bcid:)$"
)
LOGIN_COMMAND = re.compile(r"\b(?:ssh|scp|sftp|rsync|mosh|ssh-copy-id|git clone)\b[^\n|;]*$")
LOGIN_PATH = re.compile(r":[~/\w.-]*/|:\d+\b")  # ada@host:/srv, git@host:team/repository.git
PICTURE_SCALE = re.compile(r"@\dx\.")  # logo@2x.zip, which is a name that a domain could have


def personal_span(entity_type: str, text: str, start: int, end: int) -> Span | None:
    """The characters of it that are personal; None if it only looks so."""
    judge = JUDGES.get(entity_type)
    if judge is None:
        return start, end
    return judge(text, start, end)


def _judge_ip(text: str, start: int, end: int) -> Span | None:
    """An address that is routed on the internet, and neither a network nor a version."""
    before = text[max(0, start - CONTEXT_CHARACTERS) : start]
    after = text[end : end + 20]
    if re.search(r"(?:\w|\d\.)$", before) or re.match(r"\w|[.-]\d|\.[a-z-]+\.", after):
        return None
    try:
        interface = ip_interface(text[start:end].split("%", maxsplit=1)[0])
    except ValueError:  # with leading zeros, as counters have them
        return None
    address = interface.ip
    if isinstance(address, IPv6Address):
        has_interface = int(address) & INTERFACE_BITS != 0
        is_routed = int(address) >> 112 in GLOBAL_IPV6 and has_interface
        address = address.ipv4_mapped or address
        if isinstance(address, IPv6Address) and not is_routed:
            return None
    prefix = interface.network.prefixlen
    is_network = prefix < interface.max_prefixlen and interface.ip == interface.network[0]
    if is_network or not address.is_global or is_placeholder_ip(address):
        return None
    if isinstance(address, IPv4Address) and _is_version_or_network(address, before):
        return None
    return start, end


def _is_version_or_network(address: IPv4Address, before: str) -> bool:
    parts = address.packed
    is_network = parts[3] in (0, 255) or address.is_multicast
    if is_network or VERSION_WORD.search(before):
        return True
    return max(parts) <= LARGEST_VERSION_PART and not IP_WORD.search(before)


def _judge_mac(text: str, start: int, end: int) -> Span | None:
    """An address that is no part of a longer row of bytes, such as a fingerprint."""
    before = text[max(0, start - 3) : start]
    after = text[end : end + 3]
    is_part = re.search(r"[\da-fA-F]{2}[:-]$", before) or re.match(r"[:-][\da-fA-F]{2}", after)
    digits = re.sub(r"[^\da-f]", "", text[start:end].lower())
    if is_part or is_placeholder_mac(digits):
        return None
    return start, end


def _judge_email(text: str, start: int, end: int) -> Span | None:
    """An address without what stands before it: Presidio takes in `email='` and `https://`."""
    if text.count("@", start, end) != 1:
        return start, end  # written with (at), or quoted
    at = text.index("@", start, end)
    local_part = LOCAL_PART.search(text, max(0, at - 64), at)
    if local_part is None:
        return None
    start = local_part.start()
    before = text[max(0, start - 200) : start]
    line_before = before.rpartition("\n")[2]
    url = URL_BEFORE.search(line_before)
    is_user_of_url = url is not None and "/" not in url[0].partition("://")[2]
    is_handle = before.endswith("@")
    is_login = LOGIN_COMMAND.search(line_before) or LOGIN_PATH.match(text, end)
    is_identifier = MESSAGE_ID.search(line_before) or PICTURE_SCALE.match(text, at)
    if is_user_of_url or is_handle or is_login or is_identifier:
        return None
    return start, end


def _judge_card(text: str, start: int, end: int) -> Span | None:
    """Digits in the groups of a card, and no part of a fraction or a longer identifier.

    Luhn's digit is right in one of ten numbers, and most counters have 12 or 13 digits at times.
    """
    before = text[max(0, start - CONTEXT_CHARACTERS) : start]
    number = text[start:end]
    is_part = re.search(r"[\w.-]$", before) or re.match(r"[\w-]|\.\d", text[end : end + 2])
    is_short = len(number) < MIN_CARD_DIGITS and not CARD_WORD.search(before)
    if is_part or is_short or is_counted(number) or not CARD_GROUPS.fullmatch(number):
        return None
    return start, end


JUDGES: dict[str, Callable[[str, int, int], Span | None]] = {
    "CREDIT_CARD": _judge_card,
    "EMAIL_ADDRESS": _judge_email,
    "IP_ADDRESS": _judge_ip,
    "MAC_ADDRESS": _judge_mac,
}
