"""What a request's guards are to do: `off`, `flag` (note it in the log) or `block`."""

import json
from enum import StrEnum
from typing import Any, NamedTuple


class Action(StrEnum):
    OFF = "off"
    FLAG = "flag"
    BLOCK = "block"


class GuardActions(NamedTuple):
    """The guards of one request.

    `flags` are what was remarked before the request came here; `problem`, if it is to be blocked
    because of them, says why.
    """

    injection: Action = Action.FLAG
    secret_answer: Action = Action.FLAG
    flags: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def blocks_any(self) -> bool:
        return Action.BLOCK in (self.injection, self.secret_answer) or self.problem is not None


def write(actions: GuardActions) -> str:
    """As it crosses to Triton."""
    return json.dumps(actions._asdict())


def read(text: str) -> GuardActions:
    """The inverse of `write`; an empty text: as if nothing was said. Raises ValueError."""
    if not text:
        return GuardActions()
    values: dict[str, Any] = json.loads(text)
    try:
        return GuardActions(
            Action(values["injection"]),
            Action(values["secret_answer"]),
            tuple(values["flags"]),
            values["problem"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"guards: {text[:100]!r} does not name every guard") from error
