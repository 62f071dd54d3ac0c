"""The errors that end a command with one readable message instead of a traceback."""


class UserError(ValueError):
    """A mistake that the user can mend: the message names file, key, value and remedy."""


class Refusal(UserError):
    """A check said no, so the work is not begun: the message says which check and why."""


class Unreachable(UserError):
    """Something outside did not answer, so the same command may work later. The runner ends with TRY_AGAIN."""


TRY_AGAIN = 75  # exit code, sysexits.h's EX_TEMPFAIL: what may be tried again without a change
UNCHANGED = 99  # exit code of `checkout stage` and `checkout brief`: there was nothing to do; Airflow's BashOperator reads it so too
