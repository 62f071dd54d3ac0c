"""This machine and its tools: paths, Git, locks, processes, caches, hardware, Ray, DVC's files.

Each module is a door of its own, for one foreign tool. The room may import files, contracts,
config and errors; it knows nothing of documents, models or decisions.
"""
