"""The errors that end a command with one readable message instead of a traceback."""

import shutil

LITTLE_SPACE = 64 << 20  # bytes


class UserError(ValueError):
    """A mistake that the user can mend: the message names file, key, value and remedy."""


class Refusal(UserError):
    """A check said no, so the work is not begun: the message says which check and why."""


class Unreachable(UserError):
    """Something outside did not answer, so the same command may work later. The runner ends with TRY_AGAIN."""


TRY_AGAIN = 75  # exit code, sysexits.h's EX_TEMPFAIL: what may be tried again without a change
UNCHANGED = 99  # exit code of `checkout stage` and `checkout brief`: there was nothing to do; Airflow's BashOperator reads it so too


def note_of_a_full_disk() -> str:
    """A sentence where hardly anything is left on this folder's disk, else nothing: torch, Weaviate and others report a full disk in words that do not say so."""
    free = shutil.disk_usage(".").free
    return f"the disk is almost full ({free >> 20} MiB are left): if that is why, free some space; the same command continues" if free < LITTLE_SPACE else ""
