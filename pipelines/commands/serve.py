"""Serve the current release with Weaviate, Triton and the gateway until Ctrl-C; repair what breaks.

Starts all three, waits until an answer comes, prints how to ask, and watches. SIGTERM ends it as
Ctrl-C does.
"""

import signal
from types import FrameType

from pipelines.config import params
from pipelines.config.gateway import GatewayConfig
from pipelines.config.serve import ServeConfig
from pipelines.gateway import database, keys, process
from pipelines.gateway.keys import Role
from pipelines.serving import serving_loop

FIRST_TENANT = "default"


def run() -> None:
    values = params.load()
    config = values.section(GatewayConfig)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with process.hold(config) as revive_gateway:
            companion = serving_loop.Companion(_explanation(config), revive_gateway)
            serving_loop.serve_until_interrupted(values.section(ServeConfig), companion)
    except KeyboardInterrupt:
        print("\nstopped")


def _explanation(config: GatewayConfig) -> str:
    """How to reach the gateway; with a first key if there never was one."""
    url = process.url(config)
    engine = database.connect()
    key = "$KEY"
    lines = [
        f"page:     {url}/",
        "keys:     python -m pipelines keys create --tenant NAME",
    ]
    if keys.count(engine) == 0:
        key = keys.create(engine, FIRST_TENANT, Role.ASKER)
        lines.append(f"your key: {key}   (the first; it is shown this once)")
    lines.append(
        f"""OpenAI:   curl -s {url}/v1/chat/completions -H "Authorization: Bearer {key}" """
        """-H "Content-Type: application/json" -d '{"model": "assistant", "messages": """
        """[{"role": "user", "content": "How do I add documents?"}]}'"""
    )
    return "\n".join(lines)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
