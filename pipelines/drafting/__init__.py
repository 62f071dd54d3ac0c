"""Drafting: a teacher proposes questions about the documents, and a person decides on them.

A draft must pass a round trip before anybody sees it (round_trip.py). Nothing that no person
accepted reaches training or the golden set. The room may import questions, vectorstore, pages,
system, files, contracts, config and runtime.
"""
