"""Writes small PDFs byte by byte, for what reportlab does not write."""

from typing import NamedTuple


class Text(NamedTuple):
    """Characters drawn from left to right, in the order of `letters`, at (x, y) in points."""

    letters: str
    x: int
    y: int


def write_page(texts: list[Text], has_unicode_table: bool = True, catalog: str = "") -> bytes:
    """A page of 600 x 800 points in one font, whose codes are numbers from 1 on."""
    letters = sorted({letter for text in texts for letter in text.letters})
    codes = {letter: number for number, letter in enumerate(letters, start=1)}
    operators = []
    for text in texts:
        string = "".join(f"{codes[letter]:04x}" for letter in text.letters)
        operators.append(f"BT /F1 12 Tf {text.x} {text.y} Td <{string}> Tj ET")
    to_unicode = "/ToUnicode 7 0 R" if has_unicode_table else ""
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        _stream("\n".join(operators)),
        f"<< /Type /Font /Subtype /Type0 /BaseFont /Plain /Encoding /Identity-H {to_unicode} "
        "/DescendantFonts [6 0 R] >>",
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Plain /DW 500 /CIDSystemInfo "
        "<< /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> "
        "/FontDescriptor << /Type /FontDescriptor /FontName /Plain /Flags 4 /Ascent 800 "
        "/Descent -200 /CapHeight 700 /StemV 80 /ItalicAngle 0 /FontBBox [0 -200 1000 800] >> >>",
        _stream(_unicode_table(codes)),
    ]
    return _file(objects)


def _unicode_table(codes: dict[str, int]) -> str:
    lines = []
    for letter, code in codes.items():
        value = letter.encode("utf-16-be").hex()
        lines.append(f"<{code:04x}> <{value}>")
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap "
        "1 begincodespacerange <0000> <ffff> endcodespacerange "
        f"{len(lines)} beginbfchar " + " ".join(lines) + " endbfchar endcmap end end"
    )


def _stream(content: str) -> str:
    return f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"


def _file(objects: list[str]) -> bytes:
    content = "%PDF-1.7\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n"
    start = len(content)
    content += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n"
    content += "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    content += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    return content.encode("ascii")
