"""Checkouts of runs: each works in a Git work tree and on a branch of its own.

No run disturbs another, nor a person's files. Its door: `work_trees` (start, enter, record) and a
module for each thing that a task does. May import every room but `commands` and `stages`.
"""
