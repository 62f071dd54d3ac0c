"""Makes an earlier release live again: its model, its prompt and its knowledge."""

from dataclasses import dataclass
from pathlib import Path

from pipelines import vectorstore
from pipelines.config.serve import ServeConfig
from pipelines.contracts.champion import Champion
from pipelines.corpus import catalogue
from pipelines.decision import ledger, release_files, release_page
from pipelines.errors import UserError
from pipelines.serving import experiment_record, live_routes, live_server, releasing
from pipelines.serving.triton_connection import Triton

DOCUMENTS = Path("data/documents.parquet")


@dataclass(frozen=True)
class Outcome:
    """What `rollback` did. `previous` is None if the release was live already."""

    release_id: str
    previous: str | None
    is_served: bool


def roll_back(
    config: ServeConfig,
    release_id: str | None,
    author: releasing.Author,
    *,
    may_publish: bool = False,
) -> Outcome:
    """Let a release answer that was live before; without an id, the one before the live one.

    A release that is still loaded takes over at once; another is loaded first. Repeatable. Raises
    UserError if pages would be everyone's again that are not by now, unless it `may_publish`.
    """
    live = ledger.champion()
    if live is None:
        raise UserError("there is no release yet, so there is none to go back to")
    experiment_record.demand_none("a rollback")
    target = release_files.find(release_id or _previous(live.release_id))
    if target.release_id == live.release_id:
        return Outcome(target.release_id, previous=None, is_served=False)
    restore_knowledge(target.release_id, may_publish=may_publish)
    triton = live_server.find_running()
    if triton:
        _take_over(triton, target.release_id)
    release_files.restore(target.release_id)
    ledger.append(_event(target, author))
    releasing.settle(config, triton, target.release_id, live.release_id)
    release_page.write(target.release_id, live.release_id)
    return Outcome(target.release_id, live.release_id, is_served=triton is not None)


def prepare(release_id: str) -> None:
    """Install the release and point its alias at its knowledge, unless that is done already.

    An alias that `refresh` has moved stays.
    """
    if release_id not in live_server.installed_releases():
        live_server.install(release_files.folder_of(release_id), release_id)
    if vectorstore.alias_state(live_server.alias(release_id)).current is None:
        restore_knowledge(release_id)


def restore_knowledge(release_id: str, *, may_publish: bool = False) -> None:
    """Let the release read the collection that it was released with.

    Raises UserError as `roll_back` does.
    """
    receipt = release_files.ensure_collection(release_id)
    if not may_publish:
        demand_unpublished(receipt.collection)
    vectorstore.point_alias(live_server.alias(release_id), receipt.collection)


def demand_unpublished(collection: str) -> None:
    """Raises UserError if everyone may read pages in a collection that are restricted by now."""
    restrictions = catalogue.restricted_pages(DOCUMENTS)
    pages = vectorstore.published_pages(collection, restrictions) if restrictions else []
    if pages:
        raise UserError(
            f"in {collection} everyone may read pages that are restricted by now ({len(pages)}, "
            f"such as {pages[0]}): `python -m pipelines refresh` lets the live release read the "
            "index of today; --publish goes back all the same"
        )


def _take_over(triton: Triton, release_id: str) -> None:
    if release_id not in live_server.loaded_releases(triton):
        prepare(release_id)
        live_server.load(triton, release_id)
    live_routes.write([(release_id, 1.0)])


def _event(release: Champion, author: releasing.Author) -> ledger.Event:
    return ledger.Event(
        kind="rolled_back",
        step="rollback",
        release_id=release.release_id,
        candidate=release.candidate,
        who=author.who,
        why=author.why,
        when=ledger.now(),
        scores=release.scores,
        seen={},
        champion=release,
    )


def _previous(release_id: str) -> str:
    """The last release that was live before this one."""
    for event in reversed(ledger.read()):
        if event.champion and event.champion.release_id != release_id:
            return event.champion.release_id
    raise UserError(f"{release_id} is the only release: there is none to go back to")
