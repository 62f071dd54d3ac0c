"""`python -m pipelines releases`: the ledger, newest last."""

from pipelines import ledger

MARKS = {"approved": "approved", "overridden": "override used", "refused": "REFUSED", "released": "released", "rolled_back": "ROLLED BACK to"}


def run() -> None:
    """A line an event: what, which, when, who, score, why. The live release is marked."""
    events = ledger.read()
    if not events:
        print("no releases yet: `make run`, then `python -m pipelines release --who YOU --why REASON`")
    live = max((number for number, event in enumerate(events) if event.champion), default=-1)
    for number, event in enumerate(events):
        what = event.release_id or f"candidate {(event.candidate or '')[:12]}"
        match = f"exact match {event.scores['exact_match']:.3f}" if "exact_match" in event.scores else ""
        why = " ".join(event.why.split())
        print(f"{event.when}  {MARKS[event.kind]:14} {what:24} {event.who:12} {match:18} {event.step}: {why}{'   <- live' if number == live else ''}")
