"""The ports on which processes really listen, and those that the handbook's table names."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

SECURITY = Path(__file__).parents[1] / "data/raw/handbook/security.md"
LOOPBACK = "127.0.0.1"
EVERYWHERE = "every interface"
# How the addresses of the kernel's tables are named in the handbook's.
NAMES = {
    "127.0.0.1": LOOPBACK,
    "::1": LOOPBACK,
    "::ffff:127.0.0.1": LOOPBACK,
    "0.0.0.0": EVERYWHERE,  # noqa: S104 (an address that was found)
    "::": EVERYWHERE,
}


def listening(processes: Iterable[psutil.Process]) -> dict[int, str]:
    """Port -> address, as the handbook names it, of every TCP and UDP socket that takes strangers.

    Raises KeyError at an address that has no name there.
    """
    ports: dict[int, str] = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN or _takes_datagrams(connection):
                    ports[connection.laddr.port] = NAMES[connection.laddr.ip]
    return ports


def documented() -> dict[str, str]:
    """What listens -> where, by the table of security.md: `Triton HTTP` -> 127.0.0.1.

    A cell names what belongs together at once: `Triton HTTP, gRPC`.
    """
    addresses: dict[str, str] = {}
    for line in SECURITY.read_text(encoding="utf-8").splitlines():
        match = re.match(r"\| (the gateway|Weaviate|Triton)([^|]*)\|([^|]*)\|", line)
        if match:
            address = EVERYWHERE if EVERYWHERE in match[3] else LOOPBACK
            for part in match[2].split(","):
                addresses[f"{match[1]} {part.strip()}".strip()] = address
    return addresses


def own_address() -> str:
    """An address of this machine by which others reach it; skips the test if it has none."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family != socket.AF_INET:
                continue
            if not ipaddress.ip_address(address.address).is_loopback:
                return str(address.address)
    pytest.skip("this machine has no address but 127.0.0.1")


def _takes_datagrams(connection: object) -> bool:
    """Whether it is a UDP socket that is not connected to one other."""
    kind = getattr(connection, "type", None)
    return kind == socket.SOCK_DGRAM and not getattr(connection, "raddr", None)
