import pytest

from pipelines.corpus.phones import LABELED, find_phones


def numbers(text: str) -> list[str]:
    """The telephone numbers of a text, the longest of those that overlap."""
    spans: list[tuple[int, int]] = []
    phones = [phone for phone in find_phones(text) if phone.score >= LABELED]
    for phone in sorted(phones, key=lambda phone: phone.start - phone.end):
        if all(phone.end <= start or end <= phone.start for start, end in spans):
            spans.append((phone.start, phone.end))
    return [text[start:end] for start, end in sorted(spans)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ring +49 30 901820 today", "+49 30 901820"),
        ("from +46 (0)8 928 571 38.", "+46 (0)8 928 571 38"),
        ("001-518-640-0854 mobile", "001-518-640-0854"),
        ("+1-903-140-4508x769", "+1-903-140-4508x769"),
        ("(905) 674-3793, ext. 12", "(905) 674-3793, ext. 12"),
        ("the number 905-674-3793.", "905-674-3793"),
        ("345.899.3560", "345.899.3560"),
        ("the surgery, 020 7183 8750, is open", "020 7183 8750"),
        ("clinique 01 84 17 61 18", "01 84 17 61 18"),
        ("(11) 96123-8306", "(11) 96123-8306"),
        ("Call 555-123-4567, or 212-555-5555.", "555-123-4567, 212-555-5555"),
        ("Phone:\n60-56-85-91\n", "60-56-85-91"),
        ("| Telephone | 0490 75 40 81 |", "0490 75 40 81"),
        ('{"phoneNumber": "9498777106"}', "9498777106"),
        ("Fax: 9498777106", "9498777106"),
        ("**Tel.** 030/901820", "030/901820"),
        ("Téléphone : 04 90 75 40 81", "04 90 75 40 81"),
        ("Telefon 089 4711081", "089 4711081"),
        ("my number is 78 651 450", "78 651 450"),
        ("call me at 0494 92 82 32 I'd like to talk", "0494 92 82 32"),
        ("call me at 949 877 710", "949 877 710"),
        ("Can someone call me on 9472 7916?", "9472 7916"),
        ("They're not answering at 99 668472", "99 668472"),
        ("stop receiving messages to 699 956 915", "699 956 915"),
        ("416 60 039 office\n", "416 60 039"),
        ("(37) 788-063-Office", "(37) 788-063"),
    ],
)
def test_a_number_counts_by_its_form_or_by_what_stands_beside_it(text: str, expected: str) -> None:
    assert ", ".join(numbers(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Each call takes 10-20 ms, a batched call 100-2000 ms.",
        "Call 10-20 ms after the start; the call returns after 1000-20000 ms.",
        "Office 2016-2019 and Office: 2016-2019",
        "The counter may reach 2147483647, or 8589934592 on 64 bits.",
        "Contact points reach 10 200 300 users at most; call it on 10 000 000 rows.",
        "cell 1024-4096, cells: 10000-20000, contact 100000-200000",
        "A queue holds messages up to 8589934592 bytes. Messages: 1048576-4194304.",
        "The cell at 100000 200000 is empty; in cell 12 3456 789 as well.",
        "The call was made at 1700000000 and returned at 1700000360.",
        "phone 2147483647 is too large for the column",
        "LastModified: 1563571859.379",
        "[10/Oct/2000:13:55:36 -0700]",
        "2018-23-03 16:00, released 2020-07-31 11.45",
        "CVE-2026-108147, RFC 2616-2617, ISBN 978-3-16-148410-0",
        "[12000/60000 (73%)] Loss: 0.545219",
        "Extent: (-180.000000, -90.000000) - (180.000000, 83.623596)",
        "Histogram: 1 1 2 0 0 0 1 1 0 2",
        "account 030714055129, id 4371465600, --rest-api-id 1234123412",
        "https://doi.org/10.1145/641876.641879 and id=905-674-3793 and /2910-674-3793/",
        "offset +1000000000, diff @@ -1234567 +2345678 @@, UTC+0530, +12 345",
        "index 0000000000..6f4c627b6e",
        "0000 0001 0002 0003, 00000000 00000010",
        "200-300-4000 items, 512 512 4096",
        "dump 01 84 17 61 18 22 5f and 0e 01 84 17 61 18 40 07",
        "modes 0644 0755, dates 02 11 2024, versions 01.02.03.04.05",
        "phone: 555-0123, (555) 555-5555, +1 206 555 0100, +447700 900123, tel 1234567890",
        "The port range is 10000-20000 for each call.",
        "fax 0000000, mobile: 9999999999",
        "Use version 905.674.37931 or build 12-34-56-78.",
        "Home 12345-6789, office 98101-1234",
    ],
)
def test_other_digits_are_left_alone(text: str) -> None:
    assert numbers(text) == []


def test_the_reason_names_the_label_and_no_digit() -> None:
    (phone,) = find_phones("mobile phone no.: 60-56-85-91")
    assert phone.why == "beside 'phone no'"
