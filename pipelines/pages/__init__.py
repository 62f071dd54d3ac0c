"""HTML pages that people read: one template each on `base.html.j2`, readable without a network.

The door is `render`. It may import the standard library and Jinja2 only, because Airflow's
environment, which has none of the pipeline's packages, renders a page as well.
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: str, **values: object) -> str:
    """The page that this template makes of the values, all of which are escaped.

    Raises jinja2.UndefinedError if the template uses a value that is missing.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
