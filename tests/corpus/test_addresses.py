import pytest

from pipelines.corpus.addresses import personal_span


def judge(entity_type: str, text: str, value: str) -> str | None:
    """What of the value is personal where it stands in the text."""
    start = text.index(value)
    span = personal_span(entity_type, text, start, start + len(value))
    return span and text[slice(*span)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The host 84.17.61.18 answered", "84.17.61.18"),
        ("Visitor from 84.17.61.18:443", "84.17.61.18"),
        ("interface 84.17.61.18/24", "84.17.61.18/24"),
        ("the address 12.2.0.1 was blocked", "12.2.0.1"),
        ("http://84.17.61.18/index.html", "84.17.61.18"),
        ("client_ip=106.31.73.20|", "106.31.73.20"),
        ("2a00:1450:4001:82b::200e answered", "2a00:1450:4001:82b::200e"),
    ],
)
def test_a_routed_address_is_personal(text: str, value: str) -> None:
    assert judge("IP_ADDRESS", text, value) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("the network 10.0.0.0/8", "10.0.0.0/8"),
        ("from 192.168.1.100", "192.168.1.100"),
        ("172.17.0.2 is the container", "172.17.0.2"),
        ("listen on 192.0.2.1", "192.0.2.1"),
        ("198.51.100.7 and 203.0.113.9", "198.51.100.7"),
        ("carrier 100.64.128.0/17", "100.64.128.0/17"),
        ("mask 255.255.255.0", "255.255.255.0"),
        ("metadata at 169.254.169.254", "169.254.169.254"),
        ("the group 239.192.0.1", "239.192.0.1"),
        ("allow 130.14.0.0/16", "130.14.0.0/16"),
        ("the net 130.14.25.0", "130.14.25.0"),
        ("broadcast 130.14.25.255", "130.14.25.255"),
        ("nameserver 8.8.8.8", "8.8.8.8"),
        ("ping 1.1.1.1", "1.1.1.1"),
        ("the address 1.2.3.4", "1.2.3.4"),
        ("<VirtualHost 111.22.33.45>", "111.22.33.45"),
        ("host 12.34.56.78", "12.34.56.78"),
        ("host 98.76.54.32", "98.76.54.32"),
        ("host 123.123.123.123", "123.123.123.123"),
        ("Oracle 12.2.0.1 and later", "12.2.0.1"),
        ("version 84.17.61.18", "84.17.61.18"),
        ("upgrade from 84.17.61.18", "84.17.61.18"),
        ("firmware >= 84.17.61.18", "84.17.61.18"),
        ("Chrome/99.0.48.12 Safari", "99.0.48.12"),
        ("v23.0.61.18", "23.0.61.18"),
        ("OID 1.3.6.1.4.1.311", "1.3.6.1"),
        ("31.112.10.23.comcast.net", "31.112.10.23"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1ff:fe23", "fe80::1ff:fe23"),
        ("fd00:12::1", "fd00:12::1"),
        ("dead::beef", "dead::beef"),
        ("entries published in 2008:: only", "2008::"),
        ("the prefix 2a00:1450::/32", "2a00:1450::/32"),
        ("abc::def()", "abc::def"),
        ("3fff::1", "3fff::1"),
    ],
)
def test_reserved_and_example_addresses_networks_and_versions_are_not(
    text: str, value: str
) -> None:
    assert judge("IP_ADDRESS", text, value) is None


@pytest.mark.parametrize(
    ("text", "value", "personal"),
    [
        ("Mail ada@lovelace.dev.", "ada@lovelace.dev", "ada@lovelace.dev"),
        ("email='ada@lovelace.dev'", "email='ada@lovelace.dev", "ada@lovelace.dev"),
        ("mailto:ada@lovelace.dev", "ada@lovelace.dev", "ada@lovelace.dev"),
        ("<o'hara@lovelace.dev>", "o'hara@lovelace.dev", "o'hara@lovelace.dev"),
        ("https://x.org/?to=ada@lovelace.dev", "//x.org/?to=ada@lovelace.dev", "ada@lovelace.dev"),
        ("Write to ada@lovelace.dev: she knows.", "ada@lovelace.dev", "ada@lovelace.dev"),
        ("https://medium.com/@ada.dev", "//medium.com/@ada.dev", None),
        ("https://mastodon.social/@ada@hachyderm.io", "ada@hachyderm.io", None),
        ("ask @ada@hachyderm.io", "ada@hachyderm.io", None),
        ("postgres://ada:secret@db.kitchen.io/x", "secret@db.kitchen.io", None),
        ("https://ada@bitbucket.org/kitchen/oven.git", "//ada@bitbucket.org", None),
        ("ssh -p 22 ada@server.kitchen.io uptime", "ada@server.kitchen.io", None),
        ("rsync a ada@server.kitchen.io:/srv/a", "ada@server.kitchen.io", None),
        ("clone ada@code.kitchen.io:team/oven.git", "ada@code.kitchen.io", None),
        ("Message-ID: <20260102.1@mail.kitchen.io>", "20260102.1@mail.kitchen.io", None),
        ("logo@2x.zip", "logo@2x.zip", None),
    ],
)
def test_handles_logins_and_identifiers_are_no_email_addresses(
    text: str, value: str, personal: str | None
) -> None:
    assert judge("EMAIL_ADDRESS", text, value) == personal


@pytest.mark.parametrize(
    ("text", "value", "is_personal"),
    [
        ("eth0 3c:22:fb:9a:10:7e up", "3c:22:fb:9a:10:7e", True),
        ("00:11:22:33:44:55", "00:11:22:33:44:55", False),
        ("aa:bb:cc:dd:ee:ff", "aa:bb:cc:dd:ee:ff", False),
        ("00-00-5E-00-53-01", "00-00-5E-00-53-01", False),
        ("ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff", False),
        ("02:42:ac:11:00:02", "02:42:ac:11:00:02", False),
        ("0a:1b:2c:ab:cd:ef:34:56:70:b1", "2c:ab:cd:ef:34:56", False),
    ],
)
def test_a_mac_address_is_that_of_one_machine(text: str, value: str, is_personal: bool) -> None:
    assert judge("MAC_ADDRESS", text, value) == (value if is_personal else None)


def test_a_fraction_or_a_part_of_an_identifier_is_no_card_number() -> None:
    assert judge("CREDIT_CARD", "card 4945160448551178.", "4945160448551178")
    assert judge("CREDIT_CARD", "score 0.4945160448551178", "4945160448551178") is None
    assert judge("CREDIT_CARD", "S-1-2-6789123486-799", "6789123486-799") is None
    assert judge("CREDIT_CARD", "4945160448551178-12", "4945160448551178") is None


def test_a_card_number_is_grouped_like_one_and_a_short_one_stands_beside_a_word_for_cards() -> None:
    assert judge("CREDIT_CARD", "4945 1604 4855 1178", "4945 1604 4855 1178")
    assert judge("CREDIT_CARD", "3782-822463-10005", "3782-822463-10005")
    assert judge("CREDIT_CARD", "billed for cc 503802053770", "503802053770")
    assert judge("CREDIT_CARD", "job 503802053770", "503802053770") is None
    assert judge("CREDIT_CARD", "cpu 10132153 290696 3084719", "10132153 290696") is None
    assert judge("CREDIT_CARD", "--accounts card 567890123456", "567890123456") is None
