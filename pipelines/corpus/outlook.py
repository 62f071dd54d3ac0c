"""Converts messages that Outlook saved (.msg)."""

from collections.abc import Iterator
from typing import Any

from pipelines.corpus.mail import Attachment, Mail, ReadFile, convert_mails
from pipelines.corpus.mail_body import choose_body, html_to_text
from pipelines.corpus.parts import ConvertedDocument, Unreadable

RTF_BODY = 0x10090102  # property: the body in compressed RTF, [MS-OXPROPS] 2.936


def convert_msg(content: bytes, read_file: ReadFile) -> ConvertedDocument:
    """Headers, body and attachments of a .msg file; see mail.convert_mail."""
    from oxmsg import Message

    message = Message.load(content)
    text = _body_text(message)
    headers = list(_headers(message))
    subject = " ".join(message.subject.split())
    attachments = [_attachment(part) for part in message.attachments]
    return convert_mails([Mail(subject, headers, [text], attachments, [])], read_file)


def _headers(message: Any) -> Iterator[str]:
    if message.sender:
        yield f"From: {' '.join(message.sender.split())}"
    recipients = [_address(recipient) for recipient in message.recipients]
    if recipients:
        yield f"To: {', '.join(recipients)}"
    if message.sent_date:
        yield f"Date: {message.sent_date.isoformat(' ', 'minutes')}"


def _address(recipient: Any) -> str:
    if recipient.name and recipient.name != recipient.email_address:
        return f"{recipient.name} <{recipient.email_address}>"
    return str(recipient.email_address)


def _body_text(message: Any) -> str:
    plain = (message.body or "").replace("\r\n", "\n")
    html = html_to_text(message.html_body) if message.html_body else ""
    text = choose_body([(False, plain), (True, html)])
    if not text.strip() and message.properties.binary_prop_value(RTF_BODY):
        raise Unreadable("has its body in RTF alone: save it as .eml")
    return text


def _attachment(part: Any) -> Attachment:
    name = part.file_name or part.mime_type or "a file"
    if part.file_bytes is None:
        return Attachment(name, problem="is a message or a link: save it by itself")
    return Attachment(name, part.file_bytes)
