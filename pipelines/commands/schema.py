"""`python -m pipelines schema`: the JSON Schema of params.yaml, which infra/params.schema.json holds for editors."""

from pipelines.config import params


def run() -> None:
    """Print it; redirect to infra/params.schema.json after a change of pipelines/config."""
    print(params.schema(), end="")
