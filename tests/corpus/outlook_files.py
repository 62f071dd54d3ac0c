"""Makes .msg files: a compound file ([MS-CFB]) with Outlook's properties ([MS-OXMSG])."""

import struct
from dataclasses import dataclass, field

SECTOR = 512
MINI_SECTOR = 64
MINI_STREAM_CUTOFF = 4096
END = 0xFFFFFFFE
FREE = 0xFFFFFFFF
NONE = 0xFFFFFFFF
STRING = 0x001F
BINARY = 0x0102
NUMBER = 0x0003


@dataclass
class Storage:
    """A folder of the compound file: streams and further storages by name."""

    streams: dict[str, bytes] = field(default_factory=dict)
    storages: dict[str, "Storage"] = field(default_factory=dict)


@dataclass
class Entry:
    name: str
    kind: int  # 1 storage, 2 stream, 5 root
    content: bytes = b""
    child: int = NONE
    right: int = NONE
    start: int = END


def make_msg(
    subject: str,
    sender: str,
    body: str = "",
    html: bytes = b"",
    attachments: dict[str, bytes] | None = None,
) -> bytes:
    """A message from `sender`, an address, to ben@example.org."""
    files = attachments or {}
    root = Storage()
    root.storages["__nameid_version1.0"] = Storage({"__substg1.0_00020102": b"x"})
    properties: dict[int, str | bytes | int] = {0x001A: "IPM.Note", 0x0037: subject, 0x0C1F: sender}
    if body:
        properties[0x1000] = body
    if html:
        properties[0x1013] = html
        properties[0x3FDE] = 65001  # the code page of UTF-8
    header = struct.pack("<8x4I8x", 1, len(files), 1, len(files))
    _add_properties(root, properties, header)
    recipient = Storage()
    _add_properties(recipient, {0x3001: "Ben", 0x3003: "ben@example.org"}, bytes(8))
    root.storages["__recip_version1.0_#00000000"] = recipient
    for number, (name, content) in enumerate(files.items()):
        attachment = Storage()
        attachment_properties: dict[int, str | bytes | int] = {
            0x3707: name,
            0x3701: content,
            0x3705: 1,
        }
        _add_properties(attachment, attachment_properties, bytes(8))
        root.storages[f"__attach_version1.0_#{number:08X}"] = attachment
    return write_compound_file(root)


def _add_properties(
    storage: Storage, properties: dict[int, str | bytes | int], header: bytes
) -> None:
    table = header
    for key, value in properties.items():
        if isinstance(value, int):
            table += struct.pack("<HHIq", NUMBER, key, 6, value)
            continue
        kind = STRING if isinstance(value, str) else BINARY
        content = value.encode("utf-16-le") if isinstance(value, str) else value
        storage.streams[f"__substg1.0_{key:04X}{kind:04X}"] = content
        size = len(content) + (2 if kind == STRING else 0)
        table += struct.pack("<HHIII", kind, key, 6, size, 0)
    storage.streams["__properties_version1.0"] = table


def write_compound_file(root: Storage) -> bytes:
    entries = [Entry("Root Entry", 5)]
    _add_entries(root, 0, entries)
    mini_stream = b""
    mini_table: list[int] = []
    sectors: list[bytes] = []
    table: list[int] = []
    for entry in entries:
        if entry.kind != 2 or not entry.content:
            continue
        if len(entry.content) < MINI_STREAM_CUTOFF:
            entry.start = _chain(mini_table, _blocks(entry.content, MINI_SECTOR))
            mini_stream += b"".join(_blocks(entry.content, MINI_SECTOR))
        else:
            entry.start = _add_sectors(sectors, table, entry.content)
    entries[0].content = mini_stream
    entries[0].start = _add_sectors(sectors, table, mini_stream)
    mini_table_bytes = struct.pack(f"<{len(mini_table)}I", *mini_table)
    mini_table_start = _add_sectors(sectors, table, mini_table_bytes, fill=b"\xff")
    directory = b"".join(map(_pack_entry, entries))
    while len(directory) % SECTOR:
        directory += _pack_entry(Entry("", 0))
    directory_start = _add_sectors(sectors, table, directory)
    table_sector = len(sectors)
    table.append(0xFFFFFFFD)
    assert len(table) <= SECTOR // 4, "the file needs more than one sector for its table"
    table += [FREE] * (SECTOR // 4 - len(table))
    sectors.append(struct.pack(f"<{len(table)}I", *table))
    num_mini_sectors = len(_blocks(mini_table_bytes, SECTOR))
    header = struct.pack(
        "<8s16xHHHHH6xIIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, directory_start, 0,
        MINI_STREAM_CUTOFF, mini_table_start, num_mini_sectors, END, 0, table_sector,
    )  # fmt: skip
    return header + b"\xff" * (SECTOR - len(header)) + b"".join(sectors)


def _add_entries(storage: Storage, parent: int, entries: list[Entry]) -> None:
    """Siblings as a list to the right, in the order that the format demands."""
    names = sorted(
        [*storage.streams, *storage.storages], key=lambda name: (len(name), name.upper())
    )
    previous = None
    for name in names:
        index = len(entries)
        if name in storage.streams:
            entries.append(Entry(name, 2, storage.streams[name]))
        else:
            entries.append(Entry(name, 1))
            _add_entries(storage.storages[name], index, entries)
        if previous is None:
            entries[parent].child = index
        else:
            entries[previous].right = index
        previous = index


def _blocks(content: bytes, size: int, fill: bytes = b"\0") -> list[bytes]:
    starts = range(0, len(content), size)
    return [content[start : start + size].ljust(size, fill) for start in starts]


def _chain(table: list[int], blocks: list[bytes]) -> int:
    start = len(table)
    for number in range(1, len(blocks)):
        table.append(start + number)
    table.append(END)
    return start


def _add_sectors(
    sectors: list[bytes], table: list[int], content: bytes, fill: bytes = b"\0"
) -> int:
    blocks = _blocks(content, SECTOR, fill)
    sectors += blocks
    return _chain(table, blocks)


def _pack_entry(entry: Entry) -> bytes:
    name = entry.name.encode("utf-16-le")
    return struct.pack(
        "<64sHBBIII16xI8x8xIQ",
        name, len(name) + 2 if name else 0, entry.kind, 1, NONE, entry.right, entry.child, 0,
        entry.start, len(entry.content),
    )  # fmt: skip
