"""Runs the gateway with uvicorn until it is told to stop."""

import asyncio
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.config.gateway import GatewayConfig
from pipelines.errors import UserError
from pipelines.gateway import app, database, tls
from pipelines.gateway.state import Gateway, Settings
from pipelines.system import processes

STOP_SECONDS = 20  # for requests under way


def serve(settings: Settings) -> None:
    """Listen until SIGINT or SIGTERM. Raises UserError if the port is taken."""
    config = settings.gateway
    if not processes.is_free(config.port, config.host):
        raise UserError(
            f"another program listens on {config.host}:{config.port}: end it, or set gateway.port "
            "in params.yaml"
        )
    tls.check(config)
    gateway = Gateway(settings, database.connect())
    server = uvicorn.Server(_uvicorn_config(config, gateway))
    server.run()


def _uvicorn_config(config: GatewayConfig, gateway: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        app.create(gateway),
        host=config.host,
        port=config.port,
        http=_patient_protocol(config.read_seconds),
        ssl_certfile=config.tls_certificate,
        ssl_keyfile=config.tls_key,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=config.trusted_proxies,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def _patient_protocol(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's own protocol, which waits for ever for the head of a request, with a limit."""

    class PatientProtocol(H11Protocol):
        """Closes a connection whose next request's head is not there in time."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _wait_for_head(self) -> None:
            if self.conn.their_state is not h11.IDLE:
                self._stop_waiting()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(seconds, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return PatientProtocol
