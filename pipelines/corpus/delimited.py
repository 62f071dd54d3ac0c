"""Converts CSV files: each row as a line that names its columns."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from pipelines.corpus.detection import decode
from pipelines.corpus.parts import ConvertedDocument, assemble
from pipelines.corpus.records import SheetRow, format_rows

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_LINES = 100  # at the top tell the delimiter
SAMPLE_CHARACTERS = 100_000
MAX_FIELD_CHARACTERS = 2**31 - 1  # the csv module's own limit is 131,072
SEPARATOR_LINE = re.compile(r"sep=(.)\n", re.IGNORECASE)  # Excel's own first line


def convert_csv(content: bytes) -> ConvertedDocument:
    """Each row of a CSV file as a line of `column: value` pairs."""
    rows = read_csv(decode(content))
    return assemble(format_rows(_sheet_rows(rows)))


def _sheet_rows(rows: Iterable[list[str]]) -> Iterator[SheetRow]:
    for number, row in enumerate(rows, start=1):
        yield SheetRow(number, dict(enumerate(row, start=1)))


def read_csv(text: str) -> Iterator[list[str]]:
    """The rows of a CSV text, empty ones included.

    A line whose quotes do not match is read by itself: `"6 inch,3` has a field that begins with a
    quote, and would otherwise take all lines after it into that field.
    """
    stated_delimiter = SEPARATOR_LINE.match(text)
    if stated_delimiter:
        text = text[stated_delimiter.end() :]
        delimiter = stated_delimiter[1]
    else:
        delimiter = find_delimiter(text)
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    lines = text.removesuffix("\n").split("\n")
    num_columns = len(_split_line(lines[0], delimiter))
    start = 0
    while start < len(lines):
        try:
            for end, row in _read_strictly(lines, start, delimiter, num_columns):
                yield row
                start = end
        except csv.Error:
            yield _split_line(lines[start], delimiter)
            start += 1


def _read_strictly(
    lines: list[str], start: int, delimiter: str, num_columns: int
) -> Iterator[tuple[int, list[str]]]:
    """The rows from line `start` on, each with the line after it.

    Raises csv.Error at quotes that do not match. So do those of a row over several lines whose
    first line alone has the right number of fields, unlike the row.
    """
    source = (f"{lines[number]}\n" for number in range(start, len(lines)))
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    first_line = start
    for row in reader:
        end = start + reader.line_num
        has_lines = end - first_line > 1 and len(row) != num_columns
        if has_lines and len(_split_line(lines[first_line], delimiter)) == num_columns:
            raise csv.Error("a quote at the start of a field has no end")
        yield end, row
        first_line = end


def _split_line(line: str, delimiter: str) -> list[str]:
    """The fields of a line; only quotes at both ends of a field are taken for quotes."""
    mark = re.escape(delimiter)
    field = re.compile(rf'"((?:[^"]|"")*)"(?={mark}|$)|([^{mark}]*)')
    fields = []
    position = 0
    while position <= len(line):
        match = field.match(line, position)
        assert match is not None  # its second alternative may be empty
        content = match[1]
        fields.append(match[2] if content is None else content.replace('""', '"'))
        position = match.end() + 1
    return fields


def find_delimiter(text: str) -> str:
    """The delimiter by which most of the first lines have the same number of fields, above one."""
    lines = text[:SAMPLE_CHARACTERS].split("\n")[:SAMPLE_LINES]
    filled_lines = list(filter(str.strip, lines))
    best = ","
    best_score = (0.0, 0)
    for delimiter in DELIMITERS:
        counts: Counter[int] = Counter()
        for line in filled_lines:
            counts[len(_split_line(line, delimiter))] += 1
        counts.pop(1, None)
        if not counts:
            continue
        num_fields, num_lines = counts.most_common(1)[0]
        score = (num_lines / len(filled_lines), num_fields)
        if score > best_score:
            best = delimiter
            best_score = score
    return best
