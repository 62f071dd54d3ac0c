import time

import pytest

from pipelines.corpus.delimited import find_delimiter, read_csv
from pipelines.corpus.detection import CSV
from pipelines.corpus.formats import Bounds, convert

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)


def test_csv_rows_name_their_columns_whatever_the_delimiter() -> None:
    semicolons = "Name;Größe\nTopf;2\n\nPfanne;3\n".encode("utf-8-sig")
    document = convert(semicolons, CSV, BOUNDS)
    assert document.text == "- Name: Topf; Größe: 2\n- Name: Pfanne; Größe: 3\n"
    commas = b'a,b\n"x, y",2,3\n'
    assert convert(commas, CSV, BOUNDS).text == "- a: x, y; b: 2; 3\n"


def test_a_field_of_any_length_is_read() -> None:
    long_field = "potato " * 100_000
    text = convert(f'a,b\n"{long_field}",2\n'.encode(), CSV, BOUNDS).text
    assert text == f"- a: {long_field.strip()}; b: 2\n"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('size,n\n"6 inch,3\n7 inch,4', [["size", "n"], ['"6 inch', "3"], ["7 inch", "4"]]),
        ('size,n\n"6 inch,3\n"8, 9",4', [["size", "n"], ['"6 inch', "3"], ["8, 9", "4"]]),
        ('n,m\n"6 inch,3\n7,4\n"8",5', [["n", "m"], ['"6 inch', "3"], ["7", "4"], ["8", "5"]]),
        ('size,n\n"5" x 7",3\n7,4', [["size", "n"], ['"5" x 7"', "3"], ["7", "4"]]),
        ('size,n\n6" pipe,3\n7,4', [["size", "n"], ['6" pipe', "3"], ["7", "4"]]),
        ('size,n\n"6"" pipe",3', [["size", "n"], ['6" pipe', "3"]]),
        ('size,n\n"two\nlines",3', [["size", "n"], ["two\nlines", "3"]]),
        ('a,n\n"Dear,\nsee below, and",3', [["a", "n"], ["Dear,\nsee below, and", "3"]]),
        ("sep=;\na;b\n1;2", [["a", "b"], ["1", "2"]]),
        ("only\none", [["only"], ["one"]]),
    ],
)  # fmt: skip
def test_a_quote_without_an_end_takes_no_row_after_it(text: str, rows: list[list[str]]) -> None:
    assert list(read_csv(text)) == rows


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n3,5;4,5\n", ";"),
        ("a\tb\n1, 2\t3\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ('"Long, long; text",1\n"More; of; it",2\n', ","),
        ("just text\nof two lines, one with a comma\nand more\n", ","),
        ("", ","),
    ],
)
def test_the_delimiter_is_the_one_that_gives_most_lines_the_same_number_of_fields(
    text: str, delimiter: str
) -> None:
    assert find_delimiter(text) == delimiter


def test_a_long_csv_has_sections_that_say_which_rows_they_hold() -> None:
    rows = "".join(f"item {number},{number}\n" for number in range(150))
    document = convert(f"Item,Count\n{rows}".encode(), CSV, BOUNDS)
    headings = [section["heading"] for section in document.sections]
    assert headings == ["Rows 2 to 101", "Rows 102 to 151"]


def test_many_quotes_without_an_end_are_read_in_seconds() -> None:
    text = "size,n\n" + ('"6 inch,3\n' + "7 inch,4\n" * 1000) * 50
    start = time.process_time()
    assert sum(1 for _ in read_csv(text)) == 1 + 50 * 1001
    assert time.process_time() - start < 10
