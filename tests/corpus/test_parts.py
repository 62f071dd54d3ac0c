import pytest

from pipelines.corpus.parts import Empty, Part, assemble, format_records, format_table


def test_parts_become_one_text_with_sections_that_end_where_the_next_one_starts() -> None:
    parts = [
        Part("page"),
        Part("heading", "Soup\nof the day", 1),
        Part("text", "Boil.\n"),
        Part("text", "  \n"),
        Part("page"),
        Part("heading", "Salt", 9),
    ]
    document = assemble(parts)
    assert document.text == "# Soup of the day\n\nBoil.\n\n###### Salt\n"
    salt = document.text.index("###### Salt")
    assert document.sections == [
        {"heading": "Soup of the day", "level": 1, "start": 0, "end": salt},
        {"heading": "Salt", "level": 6, "start": salt, "end": len(document.text)},
    ]
    assert document.pages == [0, salt]
    assert document.title == "Soup of the day"


def test_a_title_of_its_own_wins_over_the_first_heading() -> None:
    assert assemble([Part("heading", "Soup", 1)], title="Kitchen").title == "Kitchen"


def test_parts_without_text_are_empty() -> None:
    with pytest.raises(Empty):
        assemble([Part("page"), Part("heading", " ", 1), Part("text", "\n")])


def test_a_table_has_rows_of_equal_length_and_none_that_is_empty() -> None:
    rows: list[list[str | None]] = [["Pot", None], [None, ""], ["small", "2|3", "x\ny"]]
    assert format_table(rows) == "| Pot |  |  |\n| --- | --- | --- |\n| small | 2\\|3 | x y |"
    assert format_table([[None], [""]]) == ""


def test_a_record_has_a_name_for_each_value_and_a_head_alone_is_a_line() -> None:
    rows = [["", ""], ["Name", ""], ["Pot", "big", "red"], ["Pan", ""]]
    assert list(format_records(rows)) == ["- Name: Pot; big; red", "- Name: Pan"]
    assert list(format_records([["Name", "", "Size"]])) == ["- Name; Size"]
    assert list(format_records([])) == []
