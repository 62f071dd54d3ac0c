"""The live server of this clone: its entry, the releases that it has loaded, and who holds it.

.state/serving/
  repository/     assistant (the entry: runtime/entry.py), and of each release embedder-ID,
                  generator-ID and assistant-ID
  routes.json     which release answers which share of the requests (live_routes.py)
  live.json       ports of the running server, and its holder (live_record.py)
  control.key     without which nobody loads or unloads models (live_record.py)

A release is loaded under names of its own: to load a second version of one model name, Triton 2.51
loads every version of that name anew (measured), so the old release would be restarted by the new
one's arrival.
"""

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config.serve import ServeConfig
from pipelines.errors import UserError
from pipelines.serving import (
    live_record,
    live_routes,
    locations,
    model_code,
    model_configs,
    triton_server,
)
from pipelines.serving.model_code import ENGINE
from pipelines.serving.model_configs import ASSISTANT, MODELS
from pipelines.serving.model_repository import SETTINGS
from pipelines.serving.triton_connection import Triton

KNOWLEDGE = "Knowledge"  # alias of the live release's collection, for programs of others
MAX_LOGGED_CHARACTERS = 2000
# Between the entry's choice of a release and its request to it.
ROUTING_SECONDS = 0.5
VLLM_FILES = (ENGINE, "multi_lora.json")  # hold paths with the model's name


def model_names(release_id: str) -> list[str]:
    """The names under which a release is loaded, in the order of loading.

    What the assistant asks comes first.
    """
    return [f"{model}-{release_id}" for model in MODELS]


def alias(release_id: str) -> str:
    """The name in Weaviate by which a release reads its knowledge.

    `refresh` may point it at a newer collection.
    """
    return "Knowledge_" + release_id.replace("-", "_")


def find_running() -> Triton | None:
    """The live server if it answers, else None; the connection can load and unload."""
    record = live_record.read()
    if record is None or not record.has_holder():
        return None
    if not record.connect().is_alive():
        return None
    return record.connect_for_control()


def install(source: Path, release_id: str) -> None:
    """Put an exported repository's models beside the others, under the release's own names.

    Safe to repeat.
    """
    for model in MODELS:
        name = f"{model}-{release_id}"
        with files.replacing(locations.repository() / name) as folder:
            shutil.copytree(source / model, folder)
            _rename_model(folder, model, name)
            if model == ASSISTANT:
                for path in folder.glob(f"*/{SETTINGS}"):
                    settings = json.loads(path.read_text())
                    path.write_text(json.dumps({**settings, "collection": alias(release_id)}))


def installed_releases() -> list[str]:
    """Releases whose files are here, the one installed last first."""
    folders = list(locations.repository().glob(f"{ASSISTANT}-*"))
    folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    return [folder.name.removeprefix(f"{ASSISTANT}-") for folder in folders]


def load(triton: Triton, release_id: str) -> None:
    """Load a release beside the others and let it answer once.

    Raises UserError with the server's message; other releases are not touched. What a killed
    command left of this one goes first: a load over a loaded model has been seen to abort Triton
    2.51 ("unaligned tcache chunk").
    """
    if triton.ready_models().keys() & set(model_names(release_id)):
        unload(triton, release_id)
    *servants, assistant = model_names(release_id)
    try:
        with ThreadPoolExecutor(len(servants)) as pool:
            list(pool.map(triton.load, servants))
        triton.load(assistant)
        triton.generate(assistant, {"question": "Are you there?"})
    except UserError:
        unload(triton, release_id)
        raise


def unload(triton: Triton, release_id: str) -> None:
    """First the model that users ask, then those that it asks; each finishes its requests.

    The entry may have chosen the release an instant ago.
    """
    time.sleep(ROUTING_SECONDS)
    for model in reversed(model_names(release_id)):
        with suppress(UserError):
            triton.unload(model)


def loaded_releases(triton: Triton) -> list[str]:
    """Releases of which every model is ready."""
    ready = set(triton.ready_models())
    releases: list[str] = []
    for model in ready:
        release = model.removeprefix(f"{ASSISTANT}-")
        if release != model and ready.issuperset(model_names(release)):
            releases.append(release)
    return sorted(releases)


def heal(triton: Triton, dead_before: set[str]) -> set[str]:
    """Load anew the models whose process was already dead a look ago; returns those dead now.

    Triton 2.51 restarts a dead process when the next request comes, unless requests were under way
    when it died: then it waits for them for ever, and so do all that come after. A load of the
    changed folder starts a new process beside the stuck one.
    """
    ready = set(triton.ready_models())
    dead = ready - triton.processes().keys()
    for model in dead & dead_before:
        for code in (locations.repository() / model).glob("*/model.py"):
            # Triton does not load anew what has not changed, and for a touched configuration it
            # keeps the process.
            code.touch()
        print(f"the process of {model} has died; loading it anew", flush=True)
        # A failure is in the server's log; the next look tries again.
        with suppress(UserError):
            triton.load(model)
    return dead - dead_before


def write_entry(config: ServeConfig) -> None:
    """The entry's model folder, by the code of this work tree."""
    with files.replacing(locations.repository() / ASSISTANT) as folder:
        version = folder / "1"
        version.mkdir(parents=True)
        model_code.copy("entry", version)
        (folder / "config.pbtxt").write_text(model_configs.assistant(1))
        (version / SETTINGS).write_text(json.dumps(_entry_settings(config)))


@contextmanager
def hold(config: ServeConfig, releases: list[str], environment: dict[str, str]) -> Iterator[Triton]:
    """The live server with the entry and these releases loaded, until the block ends.

    `environment` says how to reach Weaviate. Raises UserError if another process holds the server.
    """
    record = live_record.read()
    if record is not None and find_running():
        raise UserError(f"the assistant of this clone is served already (process {record.holder})")
    write_entry(config)
    models = [ASSISTANT]
    for release in releases:
        models += model_names(release)
    launch = triton_server.Launch(
        locations.repository(), models, locations.server_log(), environment
    )
    with triton_server.run(launch) as triton:
        live_record.write(triton)
        try:
            yield triton
        finally:
            live_record.remove()


def remove_old_releases(triton: Triton | None, config: ServeConfig, exempt: list[str]) -> list[str]:
    """Unload and remove releases beyond the limits; returns those whose files are gone.

    The `exempt` ones (newest first) are never touched.
    """
    order = list(dict.fromkeys([*exempt, *installed_releases()]))
    num_loaded = max(config.keep_loaded, len(exempt))
    num_files = max(config.keep_files, num_loaded)
    if triton is not None:
        for release in loaded_releases(triton):
            if release not in order[:num_loaded]:
                unload(triton, release)
    surplus = [release for release in order[num_files:] if _is_installed(release)]
    for release in surplus:
        for name in model_names(release):
            shutil.rmtree(locations.repository() / name, ignore_errors=True)
    return surplus


def _is_installed(release_id: str) -> bool:
    return (locations.repository() / f"{ASSISTANT}-{release_id}").exists()


def _rename_model(folder: Path, model: str, name: str) -> None:
    """Let an installed model go by the release's name, in its configuration and in vLLM's paths."""
    config = folder / "config.pbtxt"
    config.write_text(model_configs.rename(config.read_text(), name))
    for file in VLLM_FILES:
        for path in folder.glob(f"*/{file}"):
            path.write_text(path.read_text().replace(f"/{model}/", f"/{name}/"))


def _entry_settings(config: ServeConfig) -> dict[str, Any]:
    return {
        "routes": str(live_routes.path()),
        "traffic": str(locations.traffic_folder()),
        "prices": config.prices.model_dump(),
        "max_logged_characters": MAX_LOGGED_CHARACTERS,
        "max_seconds": config.max_seconds,
        "max_requests_at_once": config.max_requests_at_once,
        "max_waiting": config.max_waiting,
    }
