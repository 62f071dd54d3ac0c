"""Names of groups on a command line; runtime/readers.py says what groups are for."""

from collections.abc import Iterable

from pipelines.errors import UserError
from pipelines.runtime import readers
from pipelines.runtime.readers import Groups


def parse(option: str, names: Iterable[str]) -> Groups:
    """The groups of these names. Raises UserError that names the option."""
    try:
        return readers.to_groups(names)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from error
