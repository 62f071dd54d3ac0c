"""Knows the checkouts of runs: each run works in a Git work tree and on a branch of its own, so that no run disturbs another or a person's files."""
