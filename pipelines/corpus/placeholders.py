"""Numbers and addresses that are set aside for examples, and those that nobody has.

Documentation uses them in place of real ones, so they are never personal.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_network

# Numbers of nobody: 555-0100 to 555-0199 and the inquiries 555-1212 in North America, and what the
# British, French, German and Australian regulators set aside for fiction.
FICTIONAL_PHONES = re.compile(
    r"(?:1?[2-9]\d\d)?555(?:01\d\d|1212)"
    r"|(?:44|0)0?(?:7700900\d{3}|2079460\d{3}|1[1-9]1?4960\d{3}|1632960\d{3})"
    r"|(?:33|0)0?(?:19900|26191|35301|46571|53649|63998)\d{4}"
    r"|(?:49|0)0?(?:3023125|6990009|4066969|221471|8999998)\d{2,4}"
    r"|(?:61|0)0?(?:491570|255501|355501|755501|855501)\d{2,4}"
)
DIGITS = "01234567890123456789"
COUNTING = ("0123456", "1234567", "2345678", "3456789", "4567890", "9876543", "8765432")
# Routed, but no person's: public name servers, the block 1.2.3.0/24, which is not assigned because
# everybody writes it, the IPv6 test network of before 2006, and the IPv6 block for documentation
# that Python 3.11 does not know yet (RFC 9637).
PUBLIC_NETWORKS = tuple(
    map(
        ip_network,
        (
            "1.0.0.0/24", "1.1.1.0/24", "1.2.3.0/24", "4.3.2.0/24", "8.8.8.0/24", "8.8.4.0/24",
            "9.9.9.0/24", "149.112.112.0/24", "208.67.220.0/22", "2001:4860:4860::/48",
            "2606:4700:4700::/48", "2620:fe::/48", "3ffe::/16", "3fff::/20",
        ),
    )
)  # fmt: skip
# First bytes for documentation (RFC 7042), multicast (IPv4, IPv6, bridges) and containers.
NO_STATION = re.compile(r"00005e0053|01005e|3333|0180c2|0242")
PATTERNED_MACS = ("012345", "123456", "001122", "112233", "aabbcc", "deadbeef", "fedcba", "654321")


def is_counted(number: str) -> bool:
    """Whether a block of its digits is counted out, upwards or downwards."""
    return any(run in number for run in COUNTING)


def is_placeholder_phone(number: str) -> bool:
    """Whether its digits are counted out, repeated, or set aside for fiction.

    Counted digits must be in one block: 555-123-4567 is also written for a real number.
    """
    digits = re.sub(r"\D", "", number)
    if len(set(digits)) <= 2 or is_counted(number):
        return True
    return FICTIONAL_PHONES.fullmatch(digits) is not None


def is_placeholder_ip(address: IPv4Address | IPv6Address) -> bool:
    """Whether a routed address is a name server's, or one that is written for any."""
    if any(address in network for network in PUBLIC_NETWORKS):
        return True
    if isinstance(address, IPv6Address):
        return False
    parts = str(address).split(".")
    digits = "".join(parts)
    is_counted = digits in DIGITS or digits in DIGITS[::-1]  # 12.34.56.78
    num_repeated = sum(len(part) > 1 and len(set(part)) == 1 for part in parts)  # 111.22.33.45
    return is_counted or num_repeated >= 3 or len(set(parts)) == 1


def is_placeholder_mac(digits: str) -> bool:
    """Whether these 12 hex digits are counted out, repeated, or not those of one machine."""
    if NO_STATION.match(digits) or len(set(digits)) <= 2:
        return True
    return any(run in digits for run in PATTERNED_MACS)
