"""params.yaml, typed: one module a section, so that a stage depends on its own section's file alone.

`params.py` reads and checks the whole file; only the runner imports it.
"""
