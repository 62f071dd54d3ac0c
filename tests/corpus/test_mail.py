from email.message import EmailMessage

from pipelines.corpus.detection import MAIL
from pipelines.corpus.formats import Bounds, convert

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)


def test_a_mail_keeps_subject_people_and_text_and_names_its_attachments() -> None:
    message = EmailMessage()
    message["Subject"] = "Grüße"
    message["From"] = "ada@example.org"
    message["To"] = "ben@example.org"
    message["Date"] = "Sat, 21 Nov 2026 12:00:00 +0000"
    message.set_content("Boil the water.\n")
    message.add_alternative("<p>not this</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="menu.pdf")
    document = convert(message.as_bytes(), MAIL, BOUNDS)
    assert document.text == (
        "# Grüße\n\n"
        "From: ada@example.org\nTo: ben@example.org\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\n"
        "Boil the water.\n\n"
        "Attachment, not read: menu.pdf\n"
    )


def test_a_mail_in_html_alone_is_read_as_its_page() -> None:
    message = EmailMessage()
    message["Subject"] = "Soup"
    message["From"] = "ada@example.org"
    message.set_content("<html><body><p>Boil <b>it</b>.</p></body></html>", subtype="html")
    assert "Boil **it**." in convert(message.as_bytes(), MAIL, BOUNDS).text
