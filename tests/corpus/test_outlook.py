import pytest

from pipelines.corpus.detection import MSG, detect_media_type
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import Unreadable
from tests.corpus.outlook_files import make_msg

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)
pytest.importorskip("oxmsg", reason="python-oxmsg is not installed: run `make setup`")


def read(content: bytes) -> str:
    assert detect_media_type(content, "mail.msg") == MSG
    return convert(content, MSG, BOUNDS).text


def test_a_message_of_outlook_keeps_subject_people_text_and_attachments() -> None:
    content = make_msg(
        "Grüße",
        "ada@example.org",
        "Boil the water.\r\n",
        attachments={"menu.md": b"# Menu\n\nSoup."},
    )
    assert read(content) == (
        "# Grüße\n\nFrom: <ada@example.org>\nTo: Ben <ben@example.org>\n\nBoil the water.\n\n"
        "## Attachment: menu.md\n\n### Menu\n\nSoup.\n"
    )


def test_a_message_in_html_alone_is_read_as_its_page() -> None:
    content = make_msg("Soup", "ada@example.org", html="<p>Boil <b>it</b> — now.</p>".encode())
    assert read(content).endswith("\n\nBoil **it** — now.\n")


def test_a_damaged_message_is_a_rejection() -> None:
    content = make_msg("Soup", "ada@example.org", "Boil.")
    with pytest.raises(Unreadable, match="a damaged file"):
        convert(content[:1600], MSG, BOUNDS)
