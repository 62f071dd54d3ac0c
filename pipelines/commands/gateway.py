"""Run the gateway alone: the front door to an assistant that is served already.

`python -m pipelines serve` runs it beside Weaviate and Triton. Alone it asks this clone's live
server, or the one that ASSISTANT_URL names.
"""

from pipelines.config import params
from pipelines.config.export import ExportConfig
from pipelines.config.gateway import GatewayConfig
from pipelines.config.redact import RedactConfig
from pipelines.config.serve import ServeConfig
from pipelines.gateway import server
from pipelines.gateway.state import Settings
from pipelines.runs import retention


def run() -> None:
    """Listen until Ctrl-C or SIGTERM."""
    values = params.load()
    serve = values.section(ServeConfig)
    settings = Settings(
        gateway=values.section(GatewayConfig),
        export=values.section(ExportConfig),
        prices=serve.prices,
        max_requests_at_once=serve.max_requests_at_once,
        open_runs=retention.open_runs,
        redact=values.section(RedactConfig),
    )
    server.serve(settings)
