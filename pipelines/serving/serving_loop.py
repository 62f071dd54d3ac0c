"""Holds Weaviate and Triton with the current release, and repairs what breaks meanwhile."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pipelines import vectorstore
from pipelines.config.serve import ServeConfig
from pipelines.decision import ledger
from pipelines.errors import UserError
from pipelines.serving import (
    client,
    experimenting,
    live_routes,
    live_server,
    locations,
    restoring,
)
from pipelines.serving.client import Question
from pipelines.serving.experiment_watch import ExperimentWatch
from pipelines.serving.triton_connection import Triton

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Companion:
    """A process that is held beside the servers: what to print about it, and how it is revived."""

    explanation: str
    revive: Callable[[], None]


def serve_until_interrupted(config: ServeConfig, companion: Companion) -> None:
    """Serve the current release; a server that ends by itself is started again."""
    with vectorstore.server_address() as environment:
        print(
            f"Weaviate: {environment['WEAVIATE_URL']} "
            "(the embedded server's API key is in .state/weaviate/connection.json)",
            flush=True,
        )
        while True:
            _serve_until_server_ends(config, companion, environment)
            print(
                "the Triton server has ended by itself; starting it again "
                "(see .state/serving/server.log)",
                flush=True,
            )


def _serve_until_server_ends(
    config: ServeConfig, companion: Companion, environment: dict[str, str]
) -> None:
    champion = ledger.champion()
    release_id = champion.release_id if champion else None
    if release_id:
        restoring.prepare(release_id)
    print(f"starting Triton with {release_id or 'no release yet'} ...", flush=True)
    live_routes.clear()
    releases = [release_id] if release_id else []
    with live_server.hold(config, releases, environment) as triton:
        if release_id:
            live_routes.write([(release_id, 1.0)])
            question = Question("What can you tell me?", tenant="start")
            print(f"{client.ask(question, triton).release_id} answers")
            experimenting.restore(triton)
        _explain(triton, companion, has_release=release_id is not None)
        _watch(triton, companion)


def _watch(triton: Triton, companion: Companion) -> None:
    """Repair what breaks, until the server ends."""
    dead_models: set[str] = set()
    weaviate_problem: str | None = None
    experiment_watch = ExperimentWatch()
    while not triton.has_ended():
        time.sleep(LOOK_SECONDS)
        companion.revive()
        _end_abandoned_switch()
        weaviate_problem = _revive_weaviate(weaviate_problem)
        # If the server has just ended, the next look sees it.
        with suppress(OSError):
            dead_models = live_server.heal(triton, dead_models)
            experiment_watch.look(triton)


def _revive_weaviate(problem: str | None) -> str | None:
    """Start an embedded Weaviate that was killed, with the live release's knowledge.

    Until then requests fail with that reason. Returns why it failed; given back as `problem`, it is
    tried again.
    """
    try:
        if not vectorstore.revive_server() and problem is None:
            return None
        champion = ledger.champion()
        if champion:
            restoring.restore_knowledge(champion.release_id)
    except UserError as error:
        if str(error) != problem:
            print(f"{error}\nTrying again", flush=True)
        return str(error)
    print("the Weaviate server had ended by itself; it was started again", flush=True)
    return None


def _end_abandoned_switch() -> None:
    """A switch whose command was killed ends with the released one answering everything."""
    if not live_routes.is_abandoned():
        return
    champion = ledger.champion()
    if champion is None:
        live_routes.clear()
        return
    live_routes.write([(champion.release_id, 1.0)])
    print(
        f"a release command was killed in the middle: {champion.release_id} "
        "answers everything again",
        flush=True,
    )


def _explain(triton: Triton, companion: Companion, *, has_release: bool) -> None:
    """Print how to ask."""
    if not has_release:
        print(
            "no release yet: make run, then "
            "python -m pipelines release --who YOU --why REASON   (it is served at once)"
        )
    metrics = f"http://{triton.host}:{triton.metrics_port}/metrics"
    lines = [
        'ask:      python -m pipelines ask "How do I add documents?"',
        companion.explanation,
        f"Triton:   {triton.url} (this machine alone)    metrics: {metrics}    "
        f"log: {locations.traffic_folder()}",
        "Ctrl-C stops it",
    ]
    print("\n".join(lines), flush=True)
