"""Show the collection that the live release reads; --back returns to the one before."""

import argparse
from pathlib import Path

from pipelines.decision import champions
from pipelines.errors import UserError
from pipelines.serving import live_server, restoring
from pipelines.vectorstore import alias_state, move_alias_back, point_alias

CHAMPION = Path("models/champion.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--back", action="store_true", help="read the collection before instead; again: forward"
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="although pages are restricted by now that everyone could read then",
    )


def run(back: bool, publish: bool = False) -> None:
    """Print what is read; with `back`, first move it to what it was before `refresh`."""
    release = champions.read(CHAMPION)
    if release is None:
        raise UserError(
            "there is no release yet, so nothing reads an index: "
            "`python -m pipelines release` creates one"
        )
    alias = live_server.alias(release.release_id)
    if back:
        previous = alias_state(alias).previous
        if previous is not None and not publish:
            restoring.demand_unpublished(previous)
        collection = move_alias_back(alias).current
        assert collection is not None
        point_alias(live_server.KNOWLEDGE, collection)
    state = alias_state(alias)
    collection = state.current or "nothing yet (serve or refresh points it)"
    print(f"{release.release_id} reads {collection}; before: {state.previous or 'nothing'}")
