"""Documents: from their sources to checked text, passages and a page that shows the corpus.

Doors: `remote.fetch`, `sources.read_source`, `intake.take_in`, and one module per later stage.
May import: pages, system, files, contracts, config and errors of pipelines; no other room.
"""
