from email.message import EmailMessage

import pytest

from pipelines.corpus.detection import MAIL
from pipelines.corpus.formats import Bounds, convert
from pipelines.corpus.parts import ConvertedDocument, Empty, Unreadable
from tests.corpus.hostile_files import make_office_file, make_pdf

BOUNDS = Bounds(max_pages=9, max_unpacked_bytes=1 << 24)
HEAD = "From: ada@example.org\nTo: ben@example.org\n"


def read(content: bytes) -> ConvertedDocument:
    return convert(content, MAIL, BOUNDS)


def make_mail(subject: str = "Soup") -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = "ada@example.org"
    return message


def test_a_mail_keeps_subject_people_and_text() -> None:
    message = make_mail("Grüße")
    message["To"] = "ben@example.org"
    message["Date"] = "Sat, 21 Nov 2026 12:00:00 +0000"
    message.set_content("Boil the water.\n")
    message.add_alternative("<p>Boil the water.</p>", subtype="html")
    assert read(message.as_bytes()).text == (
        "# Grüße\n\n"
        "From: ada@example.org\nTo: ben@example.org\nDate: Sat, 21 Nov 2026 12:00:00 +0000\n\n"
        "Boil the water.\n"
    )


@pytest.mark.parametrize("plain", ["", " \n", "Your program cannot show HTML.\n"])
def test_an_empty_or_meaningless_text_does_not_hide_the_html(plain: str) -> None:
    message = make_mail()
    message.set_content(plain)
    page = (
        "<html><body><p>Boil <b>it</b> for ten minutes, add salt and wait for me.</p></body></html>"
    )
    message.add_alternative(page, subtype="html")
    text = read(message.as_bytes()).text
    assert text.endswith("\n\nBoil **it** for ten minutes, add salt and wait for me.\n")


def test_a_mail_in_html_is_read_whole_but_for_scripts_and_hidden_text() -> None:
    message = make_mail()
    page = (
        "<html><head><style>p {color: red}</style></head><body>"
        '<div style="display:none">preview</div><table><tr><td><h1>News</h1></td></tr><tr><td>'
        '<a href="https://example.org/a">Read on</a></td></tr></table>'
        '<div class="footer">Sent by ACME</div><script>x()</script></body></html>'
    )
    message.set_content(page, subtype="html")
    text = read(message.as_bytes()).text
    assert "News" in text
    assert "Read on" in text
    assert "https://example.org/a" in text
    assert "Sent by ACME" in text
    assert "preview" not in text
    assert "color" not in text
    assert "x()" not in text


@pytest.mark.parametrize("charset", ["x-unknown", "ansi_x3.110", "utf-8", "", "binary"])
def test_an_unknown_or_wrong_charset_is_told_by_the_content(charset: str) -> None:
    parameter = f"; charset={charset}" if charset else ""
    head = f"{HEAD}Subject: Suppe\nContent-Type: text/plain{parameter}\n"
    body = "Schöne Grüße aus der Küche, wir sehen uns nächste Woche."
    content = f"{head}Content-Transfer-Encoding: 8bit\n\n{body}\n".encode("latin-1")
    assert read(content).text.endswith(f"\n\n{body}\n")


def test_headers_in_unknown_encodings_and_malformed_ones_are_read() -> None:
    content = (
        b"From: Ada <ada@example.org\nTo: =?x-unknown?q?J=F6rg?= <joerg@example.org>, ,;\n"
        b"Subject: =?utf-8?b?R3LDvMOfZQ==?= =?broken?\nDate: yesterday\n\nText.\n"
    )
    text = read(content).text
    assert text.startswith("# Grüße =?broken?")
    assert "Jörg" in text
    assert "yesterday" in text
    assert text.endswith("\n\nText.\n")


def test_attachments_are_read_by_their_format_and_named_if_they_cannot_be() -> None:
    message = make_mail()
    message.set_content("See the files.\n")
    office = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    kind, _, subtype = office.partition("/")
    message.add_attachment(
        make_office_file("docx"), maintype=kind, subtype=subtype, filename="a.docx"
    )
    message.add_attachment(make_pdf(1), maintype="application", subtype="pdf", filename="b.pdf")
    message.add_attachment("# Menu\n\nSoup.\n", subtype="markdown", filename="menu.md")
    message.add_attachment(
        b"\0\1", maintype="application", subtype="octet-stream", filename="c.bin"
    )
    document = read(message.as_bytes())
    assert document.text == (
        "# Soup\n\nFrom: ada@example.org\n\nSee the files.\n\n"
        "## Attachment: a.docx\n\npotatoes\n\n## Attachment: b.pdf\n\npotatoes\n\n"
        "## Attachment: menu.md\n\n### Menu\n\nSoup.\n\n"
        "Attachment, not read: c.bin (holds a NUL character at 0: not a text file)\n"
    )
    assert document.left_out == {"attachments": 2}


@pytest.mark.parametrize("name", ["pay.md", "pay.mdx", "pay.txt"])
def test_an_attachment_that_names_its_readers_is_left_out(name: str) -> None:
    message = make_mail()
    message.set_content("See the file.\n")
    message.add_attachment("---\nreaders: [hr]\n---\n# Pay\n\nMuch.\n", filename=name)
    document = read(message.as_bytes())
    assert f"Attachment, not read: {name} (it " in document.text
    assert "Much" not in document.text
    message = make_mail()
    message.set_content("---\nreaders: [hr]\n---\nMuch.\n")
    with pytest.raises(Unreadable, match="names readers"):
        read(message.as_bytes())


def test_a_forwarded_mail_is_read_with_its_attachments() -> None:
    inner = make_mail("Bread")
    inner.set_content("Bake it.\n")
    inner.add_attachment("Flour.\n", filename="list.txt")
    outer = make_mail("Fwd: Bread")
    outer.set_content("See below.\n")
    outer.add_attachment(inner)
    assert read(outer.as_bytes()).text == (
        "# Fwd: Bread\n\nFrom: ada@example.org\n\nSee below.\n\n"
        "## Bread\n\nFrom: ada@example.org\n\nBake it.\n\n"
        "### Attachment: list.txt\n\nFlour.\n"
    )


def test_every_text_of_a_mail_in_several_parts_is_read() -> None:
    content = (
        f"{HEAD}Subject: Photo\nContent-Type: multipart/mixed; boundary=x\n\n"
        "--x\nContent-Type: text/plain\n\nBefore the photo.\n"
        "--x\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n"
        "--x\nContent-Type: text/plain\n\nAfter the photo.\n--x--\n"
    )
    text = read(content.encode()).text
    assert text.endswith("Before the photo.\n\nAfter the photo.\n")


def test_the_mails_of_a_mailbox_are_read_one_after_the_other() -> None:
    content = (
        "From ada Mon Jan  1 00:00:00 2026\nFrom: ada@example.org\nSubject: One\n\n"
        "First.\n>From here on.\n\nFrom my kitchen.\n\n"
        "From ben Mon Jan  1 00:00:00 2026\nFrom: ben@example.org\nSubject: Two\n\nSecond.\n"
    )
    assert read(content.encode()).text == (
        "# One\n\nFrom: ada@example.org\n\nFirst.\nFrom here on.\n\nFrom my kitchen.\n\n"
        "# Two\n\nFrom: ben@example.org\n\nSecond.\n"
    )


def test_lines_that_a_mail_program_broke_are_joined() -> None:
    content = (
        f"{HEAD}Subject: Soup\nContent-Type: text/plain; format=flowed\n\n"
        "This is one \nlong line.\n> A quoted \n> line.\n-- \nAda\n"
    )
    text = read(content.encode()).text
    assert text.endswith("This is one long line.\n> A quoted line.\n-- \nAda\n")


def test_an_encrypted_mail_says_so_and_an_empty_one_is_refused() -> None:
    content = (
        f"{HEAD}Subject: Secret\nContent-Type: application/pkcs7-mime; name=smime.p7m\n\nMIIB\n"
    )
    assert (
        "Attachment, not read: smime.p7m (is encrypted: save it decrypted)"
        in read(content.encode()).text
    )
    with pytest.raises(Empty):
        read(f"{HEAD}\n\n".encode())
