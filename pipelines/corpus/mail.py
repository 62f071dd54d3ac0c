"""Converts e-mails: subject, sender, recipients, date and body."""

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from pipelines.corpus.html import convert_html
from pipelines.corpus.parts import ConvertedDocument, Empty, Part, assemble

HEADERS = ("From", "To", "Cc", "Date")


def convert_mail(content: bytes) -> ConvertedDocument:
    """Headers and body of an e-mail. Attachments are named, but not read."""
    message = BytesParser(policy=policy.default).parsebytes(content)
    assert isinstance(message, EmailMessage)
    headers = [f"{name}: {message[name]}" for name in HEADERS if message[name]]
    subject = str(message["Subject"] or "").strip()
    body = _body_text(message)
    attachments = map(_describe_attachment, message.iter_attachments())
    if not body.strip() and not subject:
        raise Empty
    parts = [
        Part("heading", subject, 1),
        Part("text", "\n".join(headers)),
        Part("text", body.replace("\r\n", "\n")),
        Part("text", "\n".join(attachments)),
    ]
    return assemble(parts)


def _describe_attachment(part: Any) -> str:
    return f"Attachment, not read: {part.get_filename() or part.get_content_type()}"


def _body_text(message: EmailMessage) -> str:
    """The plain text of a message; if it has none, its HTML as Markdown."""
    body = message.get_body(("plain", "html"))
    if body is None:
        return ""
    text = str(body.get_content())
    return convert_html(text).text if body.get_content_subtype() == "html" else text
