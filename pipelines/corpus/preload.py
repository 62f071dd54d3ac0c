"""Unpacks the language model once for all reading processes, half a second of CPU time for each.

Only the fork server imports this module, so the work is done at import.
"""

from py3langid.langid import classify

classify("")
