"""`python -m pipelines serve`: hold Weaviate and Triton with the current release until Ctrl-C, and mend what breaks meanwhile."""

import signal
import time
from contextlib import suppress
from types import FrameType

from pipelines import ledger
from pipelines.commands import champion
from pipelines.config import params
from pipelines.config.serve import ServeConfig
from pipelines.errors import UserError
from pipelines.serving import client, live
from pipelines.serving.server import Triton
from pipelines.vectorstore import aliases
from pipelines.vectorstore import server as weaviate

LOOK_SECONDS = 1.0


def run() -> None:
    """Start, wait until an answer comes, print how to ask, watch. SIGTERM ends it as Ctrl-C does."""
    config = params.load().serve

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        with weaviate.addressed() as environment:
            print(f"Weaviate: {environment['WEAVIATE_URL']} (the embedded server's API key is in .state/weaviate/connection.json)", flush=True)
            while True:
                _serve(config, environment)
                print("the Triton server has ended by itself; starting it again (see .state/serving/server.log)", flush=True)
    except KeyboardInterrupt:
        print("\nstopped")


def _serve(config: ServeConfig, environment: dict[str, str]) -> None:
    """Hold Triton until it ends by itself."""
    released = ledger.champion()
    if released:
        prepare(released.release_id)
    print(f"starting Triton with {released.release_id if released else 'no release yet'} ...", flush=True)
    live.clear_routes()
    with live.held(config, [released.release_id] if released else [], environment) as triton:
        if released:
            live.set_routes([(released.release_id, 1.0)])
            answer = client.ask("What can you tell me?", tenant="start", triton=triton)
            print(f"{answer.release_id} answers")
        _explain(triton, bool(released))
        dead: set[str] = set()
        failure: str | None = None
        while triton.process is not None and triton.process.poll() is None:
            time.sleep(LOOK_SECONDS)
            _mend()
            failure = _revive(failure)
            with suppress(OSError):  # the server has just ended: the next look sees it
                dead = live.heal(triton, dead)


def prepare(release_id: str) -> None:
    """The release's files beside the others and its knowledge in Weaviate, where they are not there yet. What `refresh` moved it to stays."""
    if release_id not in live.installed():
        live.install(champion.folder_of(release_id), release_id)
    if aliases.state(live.alias(release_id))[0] is None:
        restore_knowledge(release_id)


def restore_knowledge(release_id: str) -> None:
    """Let the release read the collection that it was released with."""
    aliases.point(live.alias(release_id), champion.knowledge(release_id).collection)


def _revive(failure: str | None) -> str | None:
    """An embedded Weaviate that was killed comes back with the live release's knowledge; until then requests fail with that reason. Returns why that failed; given back, it is tried again."""
    try:
        if not weaviate.revive() and failure is None:
            return None
        released = ledger.champion()
        if released:
            restore_knowledge(released.release_id)
        print("the Weaviate server had ended by itself; it was started again", flush=True)
        return None
    except UserError as error:
        if str(error) != failure:
            print(f"{error}\nTrying again", flush=True)
        return str(error)


def _mend() -> None:
    """A switch whose command was killed ends with the released one answering everything."""
    if live.forsaken():
        released = ledger.champion()
        if released is None:
            live.clear_routes()
            return
        live.set_routes([(released.release_id, 1.0)])
        print(f"a release command was killed in the middle: {released.release_id} answers everything again", flush=True)


def _explain(triton: Triton, released: bool) -> None:
    if not released:
        print("no release yet: make run, then python -m pipelines release --who YOU --why REASON   (it is served at once)")
    print('ask:      python -m pipelines ask "How do I add documents?"')
    print(f'curl:     curl -s {triton.url}/v2/models/assistant/generate -d \'{{"question": "How do I add documents?"}}\'')
    print('Python:   from pipelines.serving.client import ask; print(ask("How do I add documents?").text)')
    print(f"gRPC:     {triton.host}:{triton.grpc_port}    metrics: http://{triton.host}:{triton.metrics_port}/metrics    log: {client.traffic_folder()}")
    print("Ctrl-C stops it", flush=True)
