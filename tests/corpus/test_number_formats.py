import datetime

import pytest

from pipelines.corpus.number_formats import format_date, format_number, plain_number


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (0.15, "0%", "15%"),
        (0.1534, "0%", "15.34%"),
        (-0.02, "0.0%", "-2%"),
        (0.15, "0 %", "15 %"),
        (1.15, '0%;[Red]-0%;"none"', "115%"),
        (12.5, '"$"#,##0.00', "$12.5"),
        (-12.5, "$#,##0.00;[Red]($#,##0.00)", "-$12.5"),
        (12.5, "#,##0.00\\ [$€-407]", "12.5 €"),
        (12.5, '_-* #,##0.00\\ "€"_-;\\-* #,##0.00\\ "€"_-', "12.5 €"),
        (3, '0" kg"', "3 kg"),
        (3, "General\\ °C", "3 °C"),
        (123, "00000", "00123"),
        (5551234567, "(000) 000-0000", "(555) 123-4567"),
        (123456789, "000-00-0000", "123-45-6789"),
        (1_500_000, '#,##0.0,,"M"', "1.5M"),
        (1234567.891, "#,##0.00", "1234567.891"),
        (0.5, "# ?/?", "0.5"),
        (0.000012, "0.00E+00", "1.2e-05"),
        (5, "0", "5"),
        (5, "", "5"),
    ],
)
def test_a_number_is_written_as_its_format_shows_it(
    value: float, number_format: str, text: str
) -> None:
    assert format_number(value, number_format) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (3.0, "3"),
        (-2.5, "-2.5"),
        (1e15, "1e+15"),
        (123456789012, "123456789012"),
    ],
)
def test_a_number_without_a_format_has_no_noise_of_binary_fractions(
    value: float, text: str
) -> None:
    assert plain_number(value) == text


@pytest.mark.parametrize(
    ("moment", "number_format", "text"),
    [
        (datetime.datetime(2026, 1, 5), "yyyy-mm-dd", "2026-01-05"),
        (datetime.datetime(2026, 1, 5), "d. mmmm yyyy", "2026-01-05"),
        (datetime.datetime(2026, 1, 5), "dd/mm/yyyy hh:mm", "2026-01-05 00:00"),
        (datetime.datetime(2026, 1, 5, 9, 5, 7), "m/d/yy h:mm", "2026-01-05 09:05:07"),
        (datetime.datetime(2026, 1, 5, 14, 30), "h:mm AM/PM", "14:30"),
        (datetime.time(14, 30), "h:mm", "14:30"),
        (datetime.timedelta(hours=30, minutes=15), "[h]:mm", "30:15"),
        (-datetime.timedelta(minutes=1, seconds=5), "[h]:mm:ss", "-0:01:05"),
    ],
)
def test_a_date_is_written_without_what_its_format_does_not_show(
    moment: object, number_format: str, text: str
) -> None:
    assert format_date(moment, number_format) == text
