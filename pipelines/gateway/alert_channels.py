"""Where alerts go: the gateway's log, a webhook, e-mail.

GATEWAY_ALERT_WEBHOOK   address that gets a POST of JSON: `text`, and the numbers
GATEWAY_SMTP_URL        server for gateway.alerts.mail_to: smtps://user:password@host:465, or
                        smtp:// (STARTTLS; plain on this machine alone)
"""

import os
import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from urllib.parse import ParseResult, unquote, urlparse

import httpx

from pipelines.config.gateway import Alerts
from pipelines.errors import UserError

WEBHOOK = "GATEWAY_ALERT_WEBHOOK"
SMTP = "GATEWAY_SMTP_URL"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
PORTS = {"smtp": 587, "smtps": 465}
SECONDS = 15.0  # for a server to take a message
SUBJECT = "Assistant: a budget"

# Takes the text and the fields of a message. Raises ChannelError if it was not delivered.
Channel = Callable[[str, dict[str, object]], None]


class ChannelError(Exception):
    """A message could not be sent."""


def open_channels(config: Alerts) -> dict[str, Channel]:
    """The channels by name, those that the settings name. Raises UserError at a wrong setting."""
    channels: dict[str, Channel] = {"log": _log}
    webhook = os.environ.get(WEBHOOK)
    if webhook:
        if urlparse(webhook).scheme not in ("http", "https"):
            raise UserError(f"{WEBHOOK} is not an address such as https://host/path")
        channels["webhook"] = lambda text, fields: _post(webhook, text, fields)
    if config.mail_to:
        server = _smtp_server()
        channels["mail"] = lambda text, _fields: _mail(server, config, text)
    return channels


def _log(text: str, _fields: dict[str, object]) -> None:
    print(f"alert: {text}", flush=True)


def _post(address: str, text: str, fields: dict[str, object]) -> None:
    try:
        response = httpx.post(address, json={"text": text, **fields}, timeout=SECONDS)
    except httpx.HTTPError as error:
        # Without the address, which may hold a secret.
        raise ChannelError(f"{WEBHOOK} was not reached: {type(error).__name__}") from error
    if not response.is_success:
        raise ChannelError(f"{WEBHOOK} answered with status {response.status_code}")


def _smtp_server() -> ParseResult:
    text = os.environ.get(SMTP)
    if not text:
        raise UserError(
            f"gateway.alerts.mail_to names receivers, but {SMTP} names no server: set it to "
            "smtps://user:password@host:465, or empty the list"
        )
    server = urlparse(text)
    if server.scheme not in PORTS or not server.hostname:
        raise UserError(f"{SMTP} is not an address such as smtps://user:password@host:465")
    return server


def _mail(server: ParseResult, config: Alerts, text: str) -> None:
    message = EmailMessage()
    message["Subject"] = SUBJECT
    message["From"] = config.mail_from
    message["To"] = ", ".join(config.mail_to)
    message.set_content(text)
    try:
        with _connect(server) as connection:
            if server.username:
                connection.login(unquote(server.username), unquote(server.password or ""))
            connection.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise ChannelError(f"{server.hostname} did not take the e-mail: {error}") from error


def _connect(server: ParseResult) -> smtplib.SMTP:
    host = server.hostname or ""
    port = server.port or PORTS[server.scheme]
    context = ssl.create_default_context()
    if server.scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=context)
    connection = smtplib.SMTP(host, port, timeout=SECONDS)
    if host not in LOOPBACK:
        connection.starttls(context=context)
    return connection
