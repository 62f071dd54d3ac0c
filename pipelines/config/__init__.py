"""params.yaml, typed: one module for each section, found by its name.

A stage depends on its own section's module alone; `params.py` reads and checks the whole file. The
room may import errors, nothing else of ours.
"""
