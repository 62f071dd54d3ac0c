"""`python -m pipelines releases`: the ledger, newest last."""

from pathlib import Path

from pipelines import ledger

LEDGER = Path("models/releases.jsonl")


def run() -> None:
    """A line a release; the last is the champion."""
    releases = ledger.read(LEDGER)
    if not releases:
        print("no releases yet: `make run`, then `python -m pipelines release --who YOU --why REASON`")
    for number, release in enumerate(releases, start=1):
        mark = "champion" if number == len(releases) else ""
        print(f"{release.release_id}  {release.when}  {release.who:12} exact match {release.scores.get('exact_match', float('nan')):.3f}  {release.why}  {mark}")
