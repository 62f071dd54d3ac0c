"""Fixtures for tests that need a clone of their own: a Git repository with its own `.state`.

They end every server in it afterwards.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from pipelines.system import keeper, paths
from pipelines.vectorstore import encoder_graph, hold_server

ROOT = Path(__file__).parents[1]
GRAPHS = ROOT / ".state/openvino_graphs"
KEEPER = keeper.__name__
# Folders whose tests take longest.
LONG_FOLDERS = ("end_to_end", "dags", "serving", "commands", "vectorstore", "training")
# Variables that would lead a test to another server or repository.
FOREIGN_VARIABLES = (
    "WEAVIATE_URL",
    "WEAVIATE_GRPC_PORT",
    "WEAVIATE_API_KEY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
)
POLL_SECONDS = 0.05


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what `-m` does not select
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For workers (pytest-xdist), each of which runs whole files: the longest come first.

    With `-m slow`, a slow test of a sequence runs after the tests that it continues.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_rank)
    if config.getoption("markexpr") == "slow":
        _select_beginnings(items)


def _select_beginnings(items: list[pytest.Item]) -> None:
    """Mark as slow what stands before the last slow test of a file whose tests are a sequence."""
    continued_files: set[Path] = set()
    for item in reversed(items):
        if item.get_closest_marker("sequence") is None:
            continue
        if item.get_closest_marker("slow"):
            continued_files.add(item.path)
        elif item.path in continued_files:
            item.add_marker("slow")


def _rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(ROOT / "tests").parts[0]
    return LONG_FOLDERS.index(folder) if folder in LONG_FOLDERS else len(LONG_FOLDERS)


@pytest.fixture(scope="session", autouse=True)
def _one_encoder_graph() -> Iterator[None]:
    """The encoder is converted once for all tests, not in each folder that a test makes."""
    GRAPHS.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_graph, "graphs_folder", lambda: GRAPHS)
        yield


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """An empty Git repository, which is the current folder.

    It has this repository's Weaviate binary, and its own ports and data.
    """
    with enter_new_clone(tmp_path / "clone") as folder:
        yield folder


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Such a clone for a whole module, with its server held from the first test to the last."""
    with enter_new_clone(tmp_path_factory.mktemp("serving") / "clone") as folder, hold_server():
        yield folder


@pytest.fixture
def other_clone(tmp_path: Path) -> Callable[[str], AbstractContextManager[Path]]:
    """Makes and enters another clone of this name, and comes back from it."""
    return lambda name: enter_new_clone(tmp_path / name)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many KiB; skips the test if that is not possible."""
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(kib: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", error)
            pytest.skip(f"no small file system can be mounted here: {reason}")
        return folder

    yield mount
    if folder.is_mount():
        # Lazily, because a failure may hold a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def servers() -> Callable[[Path], list[int]]:
    """The process ids of the Weaviate servers of a clone."""
    return servers_below


@pytest.fixture
def keepers() -> Callable[[Path], list[int]]:
    """The process ids of the keepers of a clone."""
    return keepers_below


@contextmanager
def enter_new_clone(folder: Path) -> Iterator[Path]:
    """Make a clone, enter it, and end every server and keeper below it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name in FOREIGN_VARIABLES:
            patch.delenv(name, raising=False)
        patch.chdir(ROOT)
        binaries = paths.state_folder() / "weaviate/bin"
        (folder / ".state/weaviate").mkdir(parents=True)
        (folder / ".state/weaviate/bin").symlink_to(binaries)
        (folder / ".state/openvino_graphs").symlink_to(GRAPHS)
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        patch.chdir(folder)
        try:
            yield folder
        finally:
            end_processes_below(folder)


def end_processes_below(folder: Path) -> None:
    """End keepers and servers of every clone below `folder`: asked first, then killed.

    Nobody is left when this returns.
    """
    for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        for pid in processes_below(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while processes_below(folder) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    survivors = processes_below(folder)
    assert survivors == [], f"processes {survivors} of {folder} outlived the test"


def processes_below(folder: Path) -> list[int]:
    return keepers_below(folder) + servers_below(folder)


def servers_below(folder: Path) -> list[int]:
    """Weaviate processes whose data lies below `folder`; their keepers have the same settings."""
    keeper_pids = keepers_below(folder)
    setting = f"PERSISTENCE_DATA_PATH={folder}/"
    pids = []
    for pid, words in _processes("environ"):
        is_server = any(word.startswith(setting) for word in words)
        if is_server and pid not in keeper_pids:
            pids.append(pid)
    return pids


def keepers_below(folder: Path) -> list[int]:
    """Keepers whose folder lies below `folder`."""
    pids = []
    for pid, words in _processes("cmdline"):
        if KEEPER in words:
            (kept_folder, *_) = words[words.index(KEEPER) + 1 :]
            if kept_folder.startswith(f"{folder}/"):
                pids.append(pid)
    return pids


def _processes(file: str) -> Iterator[tuple[int, list[str]]]:
    """Process id and the words of /proc/PID/`file`.

    Processes that end meanwhile, or are not ours, are left out.
    """
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                content = (entry / file).read_bytes().decode(errors="replace")
                yield int(entry.name), content.rstrip("\0").split("\0")
