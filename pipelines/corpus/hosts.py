"""Keeps requests on the host that params.yaml states, and off private networks.

A site decides what its pages, sitemaps and redirects name: also a machine beside this one, or a
cloud's metadata service.
"""

import socket
import urllib.request
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote, urlsplit

REMEDY = "if it may be fetched from, add it to fetch.allowed_hosts in params.yaml"


@dataclass(frozen=True)
class HostRule:
    """Which URLs may be requested for a source that starts at the URL `start`."""

    start: str
    allowed_hosts: tuple[str, ...] = ()

    def problem(self, url: str) -> str | None:
        """Why this URL must not be requested; None if it may be."""
        host = _host(url)
        if host is None:
            return f"{url} is no address of a web page"
        if self._is_allowed(host):
            return None
        if _origin(url) != _origin(self.start):
            return f"{host} is not the source's host, {_host(self.start)}: {REMEDY}"
        return self._private_problem(host, _resolve(url))

    def peer_problem(self, url: str, peer: str | None) -> str | None:
        """Why an answer from the address `peer` must not be read.

        A name may mean another address by the time of the request (DNS rebinding).
        """
        host = _host(url)
        if peer is None or host is None or self._is_allowed(host) or _has_proxy(url):
            return None
        return self._private_problem(host, [peer])

    def _private_problem(self, host: str, addresses: list[str]) -> str | None:
        for text in addresses:
            address = _parse(text)
            if address is None or address.is_global or self._is_in_allowed_network(address):
                continue
            means = f"{host} is" if host == text else f"{host} has"
            return f"{means} the private address {text}: {REMEDY}"
        return None

    def _is_allowed(self, host: str) -> bool:
        address = _parse(host)
        if address is not None and self._is_in_allowed_network(address):
            return True
        return host in [allowed.lower() for allowed in self.allowed_hosts]

    def _is_in_allowed_network(self, address: IPv4Address | IPv6Address) -> bool:
        for allowed in self.allowed_hosts:
            try:
                network = ip_network(allowed, strict=False)
            except ValueError:  # a name
                continue
            if address in network:
                return True
        return False


def is_below(url: str, folder: str) -> bool:
    """Whether the URL is below the folder, also for a server that resolves its dots."""
    path = unquote(urlsplit(url).path)
    return url.startswith(folder) and ".." not in path.split("/")


def _host(url: str) -> str | None:
    parts = urlsplit(url)
    return parts.hostname if parts.scheme in ("http", "https") else None


def _origin(url: str) -> tuple[str | None, int | None]:
    """Host and port; http and https on their own ports are one site."""
    parts = urlsplit(url)
    port = None if parts.port in (80, 443) else parts.port
    return parts.hostname, port


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """The address, also of an IPv4 address that is written as an IPv6 one; None for a name."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _resolve(url: str) -> list[str]:
    """The addresses of the URL's host, as far as this machine knows them.

    A proxy resolves names itself. If the name has no address, the request will say so.
    """
    host = _host(url)
    assert host is not None
    if _parse(host) is not None or _has_proxy(url):
        return [host]
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(address[0]) for *_, address in answers]


def _has_proxy(url: str) -> bool:
    """Whether the environment names a proxy for the URL."""
    parts = urlsplit(url)
    has_proxy = parts.scheme in urllib.request.getproxies()
    return has_proxy and not urllib.request.proxy_bypass(parts.netloc)
