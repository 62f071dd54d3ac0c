"""The two errors that end a command with one readable message instead of a traceback."""


class UserError(ValueError):
    """A mistake that the user can mend: the message names file, key, value and remedy."""


class Refusal(UserError):
    """A check said no, so the work is not begun: the message says which check and why."""
