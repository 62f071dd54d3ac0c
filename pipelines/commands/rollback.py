"""`python -m pipelines rollback [release-id]`: make an earlier release live again: model, prompt and the knowledge it was released with."""

from pipelines import ledger
from pipelines.commands import champion, release, serve
from pipelines.config import params
from pipelines.errors import UserError
from pipelines.serving import live


def run(release_id: str | None, who: str, why: str) -> None:
    """Without an id: the release before the live one. A release that is still loaded takes over at once; another is loaded first. Repeatable."""
    if not who.strip() or not why.strip():
        raise UserError("--who and --why must say something: the ledger is read by others")
    now = ledger.champion()
    if now is None:
        raise UserError("there is no release yet, so none to go back to")
    wanted = champion.found(release_id or _before(now.release_id))
    if wanted.release_id == now.release_id:
        print(f"{wanted.release_id} is the live release already")
        return
    serve.restore_knowledge(wanted.release_id)
    triton = live.running()
    if triton:
        if wanted.release_id not in live.loaded(triton):
            serve.prepare(wanted.release_id)
            live.load(triton, wanted.release_id)
        live.set_routes([(wanted.release_id, 1.0)])
    champion.bring(wanted.release_id)
    ledger.append(ledger.Event(
        kind="rolled_back", step="rollback", release_id=wanted.release_id, candidate=wanted.candidate, who=who, why=why, when=ledger.now(), scores=wanted.scores, seen={}, champion=wanted,
    ))  # fmt: skip
    release.settle(params.load(), triton, wanted.release_id, now.release_id)
    print(f"{wanted.release_id} is live again instead of {now.release_id}" + ("" if triton else " (no server is live: `make serve` serves it)"))


def _before(release_id: str) -> str:
    """The last release that was live before this one."""
    others = [event.champion.release_id for event in ledger.read() if event.champion and event.champion.release_id != release_id]
    if not others:
        raise UserError(f"{release_id} is the only release: there is none to go back to")
    return others[-1]
