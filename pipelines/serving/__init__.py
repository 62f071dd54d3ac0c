"""Serves releases: proof on a fresh Triton, the live server, the canary, rollback, the client.

Doors: `releasing` (what `release` does), `restoring` (rollback), `serving_loop` (what `serve`
does), `client` (ask, stream, feedback) and `model_repository` (what `export` writes).
May import system, files, contracts, config, runtime and the doors of vectorstore, questions and
decision. tritonclient is imported only here.
"""
