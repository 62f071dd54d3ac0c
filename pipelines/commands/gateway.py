"""Run the gateway alone: the front door to an assistant that is served already.

`python -m pipelines serve` runs it beside Weaviate and Triton. Alone it asks this clone's live
server, or the one that ASSISTANT_URL names. The containers of Compose and Kubernetes run it so.
"""

import argparse
from typing import Any

from pydantic import ValidationError

from pipelines.config import params
from pipelines.config.export import ExportConfig
from pipelines.config.gateway import GatewayConfig
from pipelines.config.redact import RedactConfig
from pipelines.config.serve import ServeConfig
from pipelines.errors import UserError
from pipelines.gateway import server
from pipelines.gateway.state import Settings
from pipelines.runs import retention


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        help="address on which it listens, instead of gateway.host; 0.0.0.0 in a container",
    )
    parser.add_argument(
        "--port", type=int, help="port on which it listens, instead of gateway.port"
    )


def run(host: str | None, port: int | None) -> None:
    """Listen until Ctrl-C or SIGTERM."""
    values = params.load()
    serve = values.section(ServeConfig)
    settings = Settings(
        gateway=_with_address(values.section(GatewayConfig), host, port),
        export=values.section(ExportConfig),
        prices=serve.prices,
        max_requests_at_once=serve.max_requests_at_once,
        open_runs=retention.open_runs,
        redact=values.section(RedactConfig),
    )
    server.serve(settings)


def _with_address(config: GatewayConfig, host: str | None, port: int | None) -> GatewayConfig:
    """The settings with what the command line says of the address. Raises UserError."""
    changes: dict[str, Any] = {}
    if host is not None:
        changes["host"] = host
    if port is not None:
        changes["port"] = port
    try:
        return GatewayConfig.model_validate({**config.model_dump(by_alias=True), **changes})
    except ValidationError as error:
        problems: list[str] = []
        for problem in error.errors():
            names = [f"--{name}" for name in problem["loc"] or changes]
            problems.append(f"{', '.join(names)}: {problem['msg']} (it is {problem['input']!r})")
        raise UserError("\n".join(problems)) from error
