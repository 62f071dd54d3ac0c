import pytest

from pipelines.corpus.hidden_emails import find_hidden_emails, plain_email


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ada (at) lovelace (dot) dev", "ada@lovelace.dev"),
        ("<ada [at] lovelace [dot] dev>", "ada@lovelace.dev"),
        ("ada(at)lovelace.dev", "ada@lovelace.dev"),
        ("ada [AT] mail [DOT] lovelace [DOT] dev", "ada@mail.lovelace.dev"),
        ("ada (dot) king (at) lovelace (dot) dev", "ada.king@lovelace.dev"),
        ("ada{at}lovelace{dot}dev", "ada@lovelace.dev"),
        ("ada (at) lovelace dot dev", "ada@lovelace.dev"),
        ("ada@lovelace[.]dev", "ada@lovelace.dev"),
        ("ada&#64;lovelace.dev", "ada@lovelace.dev"),
        ("(to **ada.king at lovelace dot org**)", "ada.king@lovelace.org"),
        ("Write to ada AT lovelace DOT org", "ada@lovelace.org"),
    ],
)
def test_an_address_is_found_however_it_is_hidden(text: str, address: str) -> None:
    ((start, end),) = set(find_hidden_emails(text))
    assert plain_email(text[start:end]) == address


@pytest.mark.parametrize(
    "text",
    [
        "ada@lovelace.dev",
        "The value (at) index 3 (dot) product",
        "computed at layer dot product",
        "it is hosted at example dot com",
        "look at lovelace dot dev",
        "array[at] of x.y",
        "f(at).items",
        "meet at noon. Dot your i's",
    ],
)
def test_sentences_and_code_hold_none(text: str) -> None:
    assert list(find_hidden_emails(text)) == []
