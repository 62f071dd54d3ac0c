"""Reads what a web server sends, packed or not, without ever holding more than a limit."""

import zlib
from collections.abc import Iterable

PACKED_START = b"\x1f\x8b"
PACKINGS = ("gzip", "x-gzip")
ACCEPTED = "gzip"  # what the requests ask for; others unpack without a limit
GZIP_WINDOW = 31  # zlib's number for the largest window in a gzip stream
ROUND_BYTES = 1 << 16


class TooLong(Exception):
    """More bytes than the limit."""


class Damaged(Exception):
    """Bytes that are not packed as the server says."""


def read(parts: Iterable[bytes], encoding: str, max_bytes: int) -> bytes:
    """The content of an answer with this Content-Encoding.

    Raises TooLong, or Damaged if the encoding is another one or does not hold.
    """
    if encoding in ("", "identity"):
        return _join(parts, max_bytes)
    if encoding not in PACKINGS:
        raise Damaged(f"is packed with {encoding}, which was not asked for")
    return _unpack(parts, max_bytes)


def unpack_file(content: bytes, max_bytes: int) -> bytes:
    """The content of a .gz file; other content unchanged. Raises as `read`."""
    if not content.startswith(PACKED_START):
        return content
    return _unpack([content], max_bytes)


def _join(parts: Iterable[bytes], max_bytes: int) -> bytes:
    content = bytearray()
    for part in parts:
        content += part
        if len(content) > max_bytes:
            raise TooLong
    return bytes(content)


def _unpack(parts: Iterable[bytes], max_bytes: int) -> bytes:
    """In rounds, since a small part may unpack to a thousand times as much."""
    unpacker = zlib.decompressobj(GZIP_WINDOW)
    content = bytearray()
    try:
        for part in parts:
            rest = part
            while rest:
                if unpacker.eof:  # a file may hold several streams
                    unpacker = zlib.decompressobj(GZIP_WINDOW)
                content += unpacker.decompress(rest, ROUND_BYTES)
                rest = unpacker.unused_data or unpacker.unconsumed_tail
                if len(content) > max_bytes:
                    raise TooLong
        content += unpacker.flush()
    except zlib.error as error:
        raise Damaged(f"is not packed as it says: {error}") from error
    if not unpacker.eof:
        raise Damaged("ends in the middle of its packed content")
    return bytes(content)
