"""The live server of this clone: a repository of releases side by side, the entry that routes, and who holds the server.

.state/serving/
  repository/     assistant (the entry: inside/front.py) and embedder-ID, generator-ID, assistant-ID of each release
  routes.json     which release answers which share of the requests; `canary` names the process that watches a switch
  live.json       ports of the running server, and its holder
A release is loaded under names of its own: to load a second version of one model name, Triton 2.51 loads every version of that
name anew (measured), so the old release would be restarted by the new one's arrival.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipelines import files, place
from pipelines.config.serve import ServeConfig
from pipelines.contracts import traffic
from pipelines.errors import UserError
from pipelines.serving import configs, server
from pipelines.serving.client import LIVE, traffic_folder
from pipelines.serving.configs import ASSISTANT, MODELS
from pipelines.serving.inside import routing
from pipelines.serving.repository import ENGINE, INSIDE, SETTINGS
from pipelines.serving.server import Triton

Routes = list[tuple[str, float]]
FRONT_CODE = {"model.py": INSIDE / "front.py", **{name: INSIDE / name for name in ("exchange.py", "peer.py", "routing.py", "trafficlog.py")}, "traffic.py": Path(str(traffic.__file__))}
MAX_LOGGED_CHARACTERS = 2000
ROUTED_SECONDS = 0.5  # between the choice of a release and its being asked


def folder() -> Path:
    return place.shared_state() / "serving"


def repository() -> Path:
    return folder() / "repository"


def model_names(release_id: str) -> list[str]:
    """The names under which a release is loaded, in the order of loading: what the assistant asks comes first."""
    return [f"{model}-{release_id}" for model in MODELS]


KNOWLEDGE = "Knowledge"  # alias of the live release's collection, for other programs


def alias(release_id: str) -> str:
    """The name in Weaviate by which a release reads its knowledge; `refresh` may point it at a newer collection."""
    return "Knowledge_" + release_id.replace("-", "_")


def running() -> Triton | None:
    """The live server where one answers, else None."""
    path = place.shared_state() / LIVE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError:
        return None
    triton = Triton(found["http_port"], found["grpc_port"], found["metrics_port"], folder() / "server.log", None)
    return triton if _lives(found["holder"]) and triton.alive() else None


def install(source: Path, release_id: str) -> None:
    """Put an exported repository's models beside the others, under the release's own names. Safe to repeat."""
    for model in MODELS:
        target = repository() / f"{model}-{release_id}"
        with files.replacing(target) as made:
            shutil.copytree(source / model, made)
            text = (made / "config.pbtxt").read_text()
            (made / "config.pbtxt").write_text(configs.renamed(text, target.name))
            for named in (*made.glob(f"*/{ENGINE}"), *made.glob("*/multi_lora.json")):  # vLLM's paths
                named.write_text(named.read_text().replace(f"/{model}/", f"/{target.name}/"))
            for settings in made.glob(f"*/{SETTINGS}") if model == ASSISTANT else ():
                settings.write_text(json.dumps({**json.loads(settings.read_text()), "collection": alias(release_id)}))


def installed() -> list[str]:
    """Releases whose files are here, the ones installed last first."""
    found = sorted(repository().glob(f"{ASSISTANT}-*"), key=lambda path: -path.stat().st_mtime)
    return [path.name.removeprefix(f"{ASSISTANT}-") for path in found]


def load(triton: Triton, release_id: str) -> None:
    """Load a release beside the others and let it answer once. Raises UserError with the server's message; others are not touched.

    What a killed command left of it goes first: a load over a loaded model has been seen to abort Triton 2.51 ("unaligned tcache chunk").
    """
    if triton.ready().keys() & set(model_names(release_id)):
        unload(triton, release_id)
    try:
        *asked, asking = model_names(release_id)
        with ThreadPoolExecutor(len(asked)) as pool:
            list(pool.map(triton.load, asked))
        triton.load(asking)
        triton.generate(f"{ASSISTANT}-{release_id}", {"question": "Are you there?"})
    except UserError:
        unload(triton, release_id)
        raise


def unload(triton: Triton, release_id: str) -> None:
    """First what users ask, then what it asks; each finishes its requests. The entry may have chosen the release an instant ago."""
    time.sleep(ROUTED_SECONDS)
    for model in reversed(model_names(release_id)):
        with suppress(UserError):
            triton.unload(model)


def loaded(triton: Triton) -> list[str]:
    """Releases of which every model is ready."""
    ready = triton.ready()
    names = {name.removeprefix(f"{ASSISTANT}-") for name in ready if name.startswith(f"{ASSISTANT}-")}
    return sorted(release for release in names if all(model in ready for model in model_names(release)))


def heal(triton: Triton, dead_before: set[str]) -> set[str]:
    """Load anew the models whose process was already dead a look ago; returns those that are dead now.

    Triton 2.51 restarts a dead process when the next request comes, unless requests were under way when it died: then it waits for them for
    ever, and so do all that come after. A load of the changed folder starts a new process beside the stuck one.
    """
    dead = {model for model in triton.ready() if not triton.processes(model)}
    for model in dead & dead_before:
        for code in (repository() / model).glob("*/model.py"):
            code.touch()  # what has not changed Triton does not load anew, and a touched configuration alone it takes for the same
        print(f"the process of {model} has died; loading it anew", flush=True)
        with suppress(UserError):  # said by the server's log; the next look tries again
            triton.load(model)
    return dead - dead_before


def set_routes(routes: Routes, canary_pid: int | None = None) -> None:
    """Replace the routes whole; requests that come after it obey them."""
    content: dict[str, Any] = {"routes": [{"release_id": release, "share": share} for release, share in routes], "canary": canary_pid}
    routing.parse(json.dumps(content))
    files.write_json(folder() / "routes.json", content)


def clear_routes() -> None:
    """No release is served: the entry refuses every request."""
    (folder() / "routes.json").unlink(missing_ok=True)


def routes() -> tuple[Routes, int | None]:
    """Shares by release, and the process that watches a switch, if one is under way."""
    path = folder() / "routes.json"
    if not path.exists():
        return [], None
    content = json.loads(path.read_text())
    return routing.parse(path.read_text()), content.get("canary")


def forsaken() -> bool:
    """Whether a switch was left by a process that has ended: then the released one must take everything back."""
    _, pid = routes()
    return pid is not None and not _lives(pid)


def write_entry(config: ServeConfig) -> None:
    """The entry's model folder, by the code of this work tree."""
    with files.replacing(repository() / ASSISTANT) as made:
        version = made / "1"
        version.mkdir(parents=True)
        for name, source in FRONT_CODE.items():
            shutil.copy(source, version / name)
        (made / "config.pbtxt").write_text(configs.assistant(1))
        settings = {"routes": str(folder() / "routes.json"), "traffic": str(traffic_folder()), "prices": config.prices.model_dump(), "max_logged_characters": MAX_LOGGED_CHARACTERS}
        (version / SETTINGS).write_text(json.dumps({**settings, "max_seconds": config.max_seconds, "max_requests_at_once": config.max_requests_at_once, "max_waiting": config.max_waiting}))


@contextmanager
def held(config: ServeConfig, releases: list[str], weaviate: dict[str, str]) -> Iterator[Triton]:
    """The live server with the entry and these releases loaded, until the block ends. Raises UserError where another process holds it."""
    if running():
        raise UserError(f"the assistant of this clone is served already (process {json.loads((place.shared_state() / LIVE).read_text())['holder']})")
    write_entry(config)
    log = folder() / "server.log"
    names = [ASSISTANT, *(name for release in releases for name in model_names(release))]
    with server.started(repository(), load=names, log=log, environment=weaviate) as triton:
        live = place.shared_state() / LIVE
        files.write_json(live, {"http_port": triton.http_port, "grpc_port": triton.grpc_port, "metrics_port": triton.metrics_port, "holder": os.getpid(), "since": time.time()})
        try:
            yield triton
        finally:
            live.unlink(missing_ok=True)


def tidy(triton: Triton | None, config: ServeConfig, keep: list[str]) -> list[str]:
    """Unload and remove releases beyond the limits; `keep` (newest first) are never touched. Returns those whose files are gone."""
    order = [*keep, *(release for release in installed() if release not in keep)]
    if triton is not None:
        for release in loaded(triton):
            if release not in order[: max(config.keep_loaded, len(keep))]:
                unload(triton, release)
    gone = [release for release in order[max(config.keep_files, config.keep_loaded, len(keep)) :] if (repository() / f"{ASSISTANT}-{release}").exists()]
    for release in gone:
        for name in model_names(release):
            shutil.rmtree(repository() / name, ignore_errors=True)
    return gone


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
