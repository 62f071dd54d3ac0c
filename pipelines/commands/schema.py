"""Print the JSON Schema of params.yaml.

Editors read it from infra/params.schema.json: redirect it there after a change of pipelines/config.
"""

from pipelines.config import params


def run() -> None:
    print(params.schema(), end="")
