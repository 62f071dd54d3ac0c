"""Converts e-mails and mailboxes: subject, sender, recipients, date, body and attachments."""

import re
from collections.abc import Callable, Iterator
from email import errors, policy
from email.message import Message
from email.parser import BytesParser
from typing import Any, NamedTuple

from pipelines.corpus.mail_body import (
    REPLACEMENT,
    choose_body,
    decode_header_text,
    decode_text,
    html_to_text,
    unfold_flowed,
)
from pipelines.corpus.nesting import as_parts
from pipelines.corpus.parts import ConvertedDocument, Empty, Part, Unreadable, assemble
from pipelines.corpus.stated_readers import head_mentions_readers

HEADERS = ("From", "To", "Cc", "Date")
MAX_ATTACHMENTS = 100  # of a mail that are read; the others are named
START_OF_MAIL = re.compile(rb"(?m)(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]+\n(?=[A-Za-z-]+:)")
SIGNATURES = ("application/pgp-signature", "application/pkcs7-signature")
CIPHERS = ("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")
HEADER_ERRORS = (
    AttributeError,
    IndexError,
    LookupError,
    TypeError,
    ValueError,
    errors.MessageError,
)
ReadFile = Callable[[bytes, str], ConvertedDocument]


class Attachment(NamedTuple):
    """A file in a mail. Without a content, `problem` says why."""

    name: str
    content: bytes = b""
    problem: str = ""


class Mail(NamedTuple):
    """A mail of any format."""

    subject: str
    headers: list[str]  # lines such as `From: ada@example.org`
    texts: list[str]
    attachments: list[Attachment]
    mails: list["Mail"]  # those that are attached


def convert_mail(content: bytes, read_file: ReadFile) -> ConvertedDocument:
    """The mails of an .eml file or of a mailbox (mbox).

    `read_file` converts an attachment by its content and name. One that cannot be read is named in
    the text with the reason.
    """
    parser = BytesParser(policy=policy.default)
    messages = map(parser.parsebytes, _split(content))
    return convert_mails(list(map(read_message, messages)), read_file)


def convert_mails(mails: list[Mail], read_file: ReadFile) -> ConvertedDocument:
    """Mails one after the other. Raises Empty if they have neither subject nor text."""
    left_out: dict[str, int] = {}
    parts: list[Part] = []
    for mail in mails:
        parts += _mail_parts(mail, read_file, left_out, 1)
    if not any(map(_has_content, mails)):
        raise Empty
    return assemble(parts)._replace(left_out=left_out)


def _has_content(mail: Mail) -> bool:
    has_text = any(map(str.strip, mail.texts))
    return bool(mail.subject or has_text or mail.attachments or mail.mails)


def _split(content: bytes) -> list[bytes]:
    """The mails of a mailbox; a mail by itself."""
    if not content.startswith(b"From "):
        return [content]
    parts = START_OF_MAIL.split(content)
    mails = [re.sub(rb"(?m)^>(>*From )", rb"\1", part) for part in parts if part.strip()]
    return mails or [content]


def _mail_parts(
    mail: Mail, read_file: ReadFile, left_out: dict[str, int], level: int
) -> Iterator[Part]:
    yield Part("heading", mail.subject, level)
    yield Part("text", "\n".join(mail.headers))
    for text in mail.texts:
        if head_mentions_readers(text):
            raise Unreadable(
                "its text seems to begin with front matter that names readers: name them at the "
                "mail's source"
            )
        yield Part("text", text)
    for number, attachment in enumerate(mail.attachments):
        try:
            if attachment.problem or number >= MAX_ATTACHMENTS:
                problem = f"only {MAX_ATTACHMENTS} of a mail are read"
                raise Unreadable(attachment.problem or problem)
            document = read_file(attachment.content, attachment.name)
        except Unreadable as error:
            left_out["attachments"] = left_out.get("attachments", 0) + len(attachment.content)
            yield Part("text", f"Attachment, not read: {attachment.name} ({error})")
            continue
        yield Part("heading", f"Attachment: {attachment.name}", level + 1)
        yield from as_parts(document, level + 1)
        for kind, number_left_out in document.left_out.items():
            left_out[kind] = left_out.get(kind, 0) + number_left_out
    for attached_mail in mail.mails:
        yield from _mail_parts(attached_mail, read_file, left_out, level + 1)


def read_message(message: Message) -> Mail:
    """The mail that a parsed message is."""
    subject = " ".join(_header(message, "Subject").split())
    headers = []
    for name in HEADERS:
        value = " ".join(_header(message, name).split())
        if value:
            headers.append(f"{name}: {value}")
    mail = Mail(subject, headers, [], [], [])
    _read_part(message, mail)
    return mail


def _header(message: Message, name: str) -> str:
    """A header's value, whatever Python's parser makes of it."""
    try:
        value = str(message[name] or "")
    except HEADER_ERRORS:
        value = REPLACEMENT
    if REPLACEMENT not in value:
        return value
    raw_values = [str(raw) for key, raw in message.raw_items() if key.lower() == name.lower()]
    return decode_header_text(raw_values[0])


def _read_part(part: Any, mail: Mail) -> None:
    """Add what a part of a message has: texts, attachments, or parts of its own."""
    kind = part.get_content_type()
    if kind in CIPHERS:
        mail.attachments.append(Attachment(_name(part), problem="is encrypted: save it decrypted"))
    elif kind == "message/rfc822":
        mail.mails.extend(map(read_message, _children(part)))
    elif kind == "multipart/alternative":
        _read_alternatives(part, mail)
    elif part.is_multipart():
        for child in _children(part):
            _read_part(child, mail)
    elif kind in ("text/plain", "text/html") and not _is_attached(part):
        mail.texts.append(_text(part))
    elif kind not in SIGNATURES and (_is_attached(part) or not kind.startswith("image/")):
        mail.attachments.append(Attachment(_name(part), part.get_payload(decode=True) or b""))


def _children(part: Any) -> list[Any]:
    payload = part.get_payload()
    return payload if isinstance(payload, list) else []


def _is_attached(part: Any) -> bool:
    return part.get_content_disposition() == "attachment" or part.get_filename() is not None


def _name(part: Any) -> str:
    return str(part.get_filename() or part.get_content_type())


def _read_alternatives(part: Any, mail: Mail) -> None:
    """Add the best of several versions of the same text, and what hangs on any of them."""
    versions = []
    for child in _children(part):
        version = Mail("", [], [], [], [])
        _read_part(child, version)
        mail.attachments.extend(version.attachments)
        mail.mails.extend(version.mails)
        versions.append((_is_html(child), "\n\n".join(version.texts)))
    mail.texts.append(choose_body(versions))


def _is_html(part: Any) -> bool:
    return any(child.get_content_type() == "text/html" for child in part.walk())


def _text(part: Any) -> str:
    content = part.get_payload(decode=True) or b""
    text = decode_text(content, part.get_content_charset())
    if part.get_content_subtype() == "html":
        return html_to_text(text)
    if str(part.get_param("format", "")).lower() == "flowed":
        return unfold_flowed(text, str(part.get_param("delsp", "")).lower() == "yes")
    return text
