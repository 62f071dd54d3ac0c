"""A budget that is nearly spent is said once, to a real webhook and a real mail server."""

import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from sqlalchemy import Engine

from pipelines.errors import UserError
from pipelines.gateway import accounts, alert_channels, alerts
from pipelines.gateway.accounts import UNIT, Accounts, Outcome
from pipelines.gateway.alerts import BudgetAlerts
from pipelines.gateway.api_errors import BudgetSpent
from pipelines.system import processes
from tests.gateway.conftest import gateway_config, run_gateway
from tests.gateway.test_accounts import (
    ADA,
    engine,  # noqa: F401 (a fixture)
    limits,
    order,
    postgres,  # noqa: F401 (a fixture)
)
from tests.gateway.test_front import BODY, CHAT, allow, call, create_key

Said = list[tuple[str, dict[str, Any]]]


class Hook(BaseHTTPRequestHandler):
    """Keeps what is posted; answers with the next of `statuses`, then with 200."""

    bodies: list[dict[str, Any]] = []
    statuses: list[int] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status = Hook.statuses.pop(0) if Hook.statuses else 200
        if status == 200:
            Hook.bodies.append(json.loads(body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hook]]:
    server = HTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=server.serve_forever, daemon=True).start()
    Hook.bodies = []
    Hook.statuses = []
    address = f"http://127.0.0.1:{server.server_port}/secret"
    monkeypatch.setenv(alert_channels.WEBHOOK, address)
    yield Hook
    server.shutdown()


def spend(book: Accounts, number: int, parts: float) -> None:
    """A request that has cost so many units."""
    book.open(order(number))
    book.close(order(number), Outcome("ok", cost=round(parts * UNIT)))


def watcher(engine: Engine, book: Accounts, said: Said) -> BudgetAlerts:  # noqa: F811
    """A gateway's alerts, with one channel that keeps what is said."""
    config = gateway_config(limits=book._limits.model_dump())

    def keep(text: str, fields: dict[str, object]) -> None:
        said.append((text, fields))

    return BudgetAlerts(engine, config, book, {"list": keep})


def test_each_share_of_a_budget_is_said_once_a_month_by_one_gateway(
    engine: Engine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    book = Accounts(engine, limits(key_budget=None, tenant_budget=10.0))
    said: Said = []
    gateways = [watcher(engine, book, said), watcher(engine, book, said)]

    def look() -> list[int]:
        for gateway in gateways * 3:
            gateway.look()
        return [fields["percent"] for _, fields in said]

    spend(book, 1, 7.9)
    assert look() == []
    spend(book, 2, 0.1)
    assert look() == [80]
    spend(book, 3, 2.0)
    assert look() == [80, 100]
    assert "80 % of the budget of tenant shop" in said[0][0]
    assert "8.000000 of 10.000000" in said[0][0]
    monkeypatch.setattr(accounts, "_month", lambda _seconds: "2101-01")
    spend(book, 4, 8.5)
    assert look() == [80, 100, 80]


def test_a_budget_is_spent_when_it_does_not_bear_the_next_request(
    engine: Engine,  # noqa: F811
) -> None:
    book = Accounts(engine, limits(key_budget=1.5, tenant_budget=None))
    said: Said = []
    spend(book, 1, 1.0)
    with pytest.raises(BudgetSpent):
        book.open(order(2))
    watcher(engine, book, said).look()
    assert [(fields["owner"], fields["percent"]) for _, fields in said] == [(f"key {ADA.id}", 100)]


def test_a_webhook_that_fails_is_tried_again(
    engine: Engine,  # noqa: F811
    webhook: type[Hook],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    book = Accounts(engine, limits(key_budget=None, tenant_budget=1.0))
    config = gateway_config(limits=book._limits.model_dump())
    channels = alert_channels.open_channels(config.alerts)
    assert list(channels) == ["log", "webhook"]
    watching = BudgetAlerts(engine, config, book, channels)
    spend(book, 1, 0.9)
    webhook.statuses = [500]
    watching.look()
    watching.look()
    assert webhook.bodies == []
    output = capsys.readouterr().out
    assert "GATEWAY_ALERT_WEBHOOK answered with status 500; trying again" in output
    assert "secret" not in output
    monkeypatch.setattr(alerts, "RETRY_SECONDS", 0.0)
    watching.look()
    watching.look()
    assert [body["percent"] for body in webhook.bodies] == [80]
    assert output.count("alert: 80 %") == 1
    assert "alert:" not in capsys.readouterr().out


class Mailbox(MessageHandler):
    """Keeps the messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []

    def handle_message(self, message: Message) -> None:
        self.messages.append(message)


@contextmanager
def run_mail_server(context: ssl.SSLContext | None = None) -> Iterator[tuple[int, Mailbox]]:
    (port,) = processes.free_ports(1)
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, ssl_context=context)
    controller.start()
    yield port, mailbox
    controller.stop()


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_an_e_mail_arrives(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = None
    if scheme == "smtps":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    mail = {"mail_from": "assistant@example.com", "mail_to": ["ada@example.com", "bob@example.com"]}
    config = gateway_config(alerts={"budget_shares": [0.8], **mail}).alerts
    with run_mail_server(context) as (port, mailbox):
        monkeypatch.setenv(alert_channels.SMTP, f"{scheme}://127.0.0.1:{port}")
        alert_channels.open_channels(config)["mail"]("80 % of the budget", {})
        (message,) = mailbox.messages
    assert (message["From"], message["To"]) == (mail["mail_from"], ", ".join(mail["mail_to"]))
    assert str(message.get_payload()).strip() == "80 % of the budget"
    with pytest.raises(alert_channels.ChannelError, match="did not take the e-mail"):
        alert_channels.open_channels(config)["mail"]("nobody listens", {})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (alert_channels.WEBHOOK, "hooks.example.com"),
        (alert_channels.SMTP, "mail.example.com:25"),
        (alert_channels.SMTP, ""),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    mail = {"mail_from": "a@example.com", "mail_to": ["b@example.com"]}
    config = gateway_config(alerts={"budget_shares": [0.8], **mail}).alerts
    monkeypatch.setenv(alert_channels.SMTP, "smtps://mail.example.com")
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=variable):
        alert_channels.open_channels(config)
    with pytest.raises(ValueError, match="mail_to needs a mail_from"):
        gateway_config(alerts={"budget_shares": [0.8], **mail, "mail_from": None})


def test_a_running_gateway_says_it(clone: Path, webhook: type[Hook]) -> None:
    # A request without an assistant costs 0.5, and up to 0.748 is set aside for it.
    with run_gateway(limits=allow(monthly_budget=1.25)) as url:
        key = create_key()
        statuses = [call(url, CHAT, BODY, key).status for _ in range(3)]
        deadline = time.monotonic() + 30
        while len(webhook.bodies) < 2:
            assert time.monotonic() < deadline, webhook.bodies
            time.sleep(0.1)
    assert statuses == [503, 503, 429]
    assert [body["percent"] for body in webhook.bodies] == [80, 100]
    assert webhook.bodies[0]["owner"] == f"key {key.split('-')[1]}"
