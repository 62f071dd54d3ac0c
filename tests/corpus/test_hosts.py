import socket
from typing import Any

import pytest

from pipelines.corpus.hosts import HostRule, is_below


def resolve_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name has this address."""
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)

    def answer(*arguments: Any, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_a_url_on_the_stated_host_is_requested_with_http_or_https(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to("84.17.61.18", monkeypatch)
    rule = HostRule("http://docs.kitchen.io/a/")
    for url in ("http://docs.kitchen.io/b", "https://docs.kitchen.io/", "https://DOCS.kitchen.io"):
        assert rule.problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://docs.kitchen.io:8080/",
        "http://docs.kitchen.io.evil.example/",
        "http://docs.kitchen.io@evil.example/",
        "http://kitchen.io/",
        "ftp://docs.kitchen.io/",
        "file:///etc/passwd",
    ],
)
def test_another_host_port_or_protocol_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to("84.17.61.18", monkeypatch)
    assert HostRule("http://docs.kitchen.io/a/").problem(url)


@pytest.mark.parametrize("address", ["10.0.0.5", "127.0.0.1", "169.254.169.254", "100.64.0.1"])
def test_a_name_with_a_private_address_is_refused_unless_name_or_network_are_allowed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(address, monkeypatch)
    url = "http://wiki.kitchen.io/"
    assert HostRule(url).problem(url) == (
        f"wiki.kitchen.io has the private address {address}: if it may be fetched from, add it to "
        "fetch.allowed_hosts in params.yaml"
    )
    assert HostRule(url, ("wiki.kitchen.io",)).problem(url) is None
    assert HostRule(url, (f"{address}/24",)).problem(url) is None
    assert HostRule(url, ("172.16.0.0/12", "other")).problem(url)


@pytest.mark.parametrize(
    "host", ["[::1]", "[fe80::1]", "[::ffff:10.0.0.5]", "192.168.1.1", "0.0.0.0", "[fd00::1]"]
)
def test_a_private_address_is_refused_however_it_is_written(host: str) -> None:
    assert HostRule(f"http://{host}/").problem(f"http://{host}/")


def test_an_answer_from_a_private_address_is_not_read() -> None:
    url = "http://docs.kitchen.io/"
    rule = HostRule(url)
    assert rule.peer_problem(url, "10.0.0.5")
    assert rule.peer_problem(url, "84.17.61.18") is None
    assert HostRule(url, ("docs.kitchen.io",)).peer_problem(url, "10.0.0.5") is None


def test_behind_a_proxy_names_are_the_proxys_business_and_addresses_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to("10.0.0.5", monkeypatch)
    monkeypatch.setenv("http_proxy", "http://proxy.kitchen.io:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    url = "http://docs.kitchen.io/"
    assert HostRule(url).problem(url) is None
    assert HostRule(url).peer_problem(url, "10.0.0.5") is None
    assert HostRule("http://10.0.0.5/").problem("http://10.0.0.5/")


def test_below_a_folder_means_also_after_a_server_resolved_the_dots() -> None:
    folder = "https://kitchen.io/docs/"
    assert is_below("https://kitchen.io/docs/a..b/c.html?x=../y", folder)
    assert not is_below("https://kitchen.io/docs/../private", folder)
    assert not is_below("https://kitchen.io/docs/%2e%2e/private", folder)
    assert not is_below("https://kitchen.io/docsearch", folder)
