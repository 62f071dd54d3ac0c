from pipelines.corpus.parts import assemble
from pipelines.corpus.records import SheetRow, format_rows


def text_of(*rows: list[str]) -> str:
    sheet_rows = [SheetRow(number, dict(enumerate(row, 1))) for number, row in enumerate(rows, 1)]
    return assemble(format_rows(sheet_rows)).text


def test_captions_stand_outside_the_records() -> None:
    assert (
        text_of(
            ["Prices 2026"],
            ["in euros, without tax"],
            ["Item", "Price"],
            ["Pot", "3"],
            [],
            ["* new"],
        )
        == "Prices 2026\n\nin euros, without tax\n\n- Item: Pot; Price: 3\n\n* new\n"
    )


def test_a_second_table_below_an_empty_row_has_names_of_its_own() -> None:
    rows = [["Item", "Count"], ["Pot", "3"], [], ["Name", "Age"], ["Ada", "36"], [], ["Ben", "7"]]
    assert text_of(*rows) == "- Item: Pot; Count: 3\n- Name: Ada; Age: 36\n- Name: Ben; Age: 7\n"


def test_an_empty_row_alone_ends_no_table() -> None:
    rows = [["Item", "Color"], ["Pot", "red"], [], ["Pan", "blue"], ["Lid", "green"]]
    assert text_of(*rows) == (
        "- Item: Pot; Color: red\n- Item: Pan; Color: blue\n- Item: Lid; Color: green\n"
    )


def test_a_column_without_a_name_gives_its_value_alone() -> None:
    assert text_of(["Item", ""], ["Pot", "3"]) == "- Item: Pot; 3\n"
    assert text_of(["Item"], ["Pot", "3"]) == "- Item: Pot; 3\n"


def test_years_may_name_columns() -> None:
    rows = [["Country", "2024", "2025"], ["Peru", "1.5", "2.5"]]
    assert text_of(*rows) == "- Country: Peru; 2024: 1.5; 2025: 2.5\n"


def test_a_single_column_is_named_by_its_first_row() -> None:
    assert text_of(["Item"], ["Pot"], ["Pan"]) == "- Item: Pot\n- Item: Pan\n"


def test_a_head_above_an_empty_row_names_the_columns_below_it() -> None:
    assert text_of(["Item", "Count"], [], ["Pot", "3"]) == "- Item: Pot; Count: 3\n"
    rows = [["Item", "Count"], [], ["Name", "Age"], ["Ada", "36"]]
    assert text_of(*rows) == "- Item; Count\n- Name: Ada; Age: 36\n"
