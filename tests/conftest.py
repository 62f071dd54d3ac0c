"""What tests share that need a clone of their own: a Git repository whose `.state` is theirs, and the end of every server in it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from pipelines import place
from pipelines.vectorstore import server

ROOT = Path(__file__).parents[1]
KEEPER = "pipelines.vectorstore.server"
LONG = ("end_to_end", "dags", "serving", "commands", "vectorstore", "finetuning")  # folders whose tests take longest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For workers (pytest-xdist), each of which runs whole files: the longest come first."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        folders = {item: item.path.relative_to(ROOT / "tests").parts[0] for item in items}
        items.sort(key=lambda item: LONG.index(folders[item]) if folders[item] in LONG else len(LONG))


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """An empty Git repository, which is the current folder; it has this repository's Weaviate binary, and its own ports and data."""
    with made_clone(tmp_path / "clone") as folder:
        yield folder


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Such a clone for a whole module, with its server held from the first test to the last."""
    with made_clone(tmp_path_factory.mktemp("serving") / "clone") as folder, server.held():
        yield folder


@pytest.fixture
def other_clone(tmp_path: Path) -> Callable[[str], AbstractContextManager[Path]]:
    """Makes and enters another clone of this name, and comes back from it."""
    return lambda name: made_clone(tmp_path / name)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Gives a folder on a file system of so many KiB; skips where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()

    def sized(kib: int) -> Path:
        try:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no small file system can be mounted here: {getattr(error, 'stderr', error)}")
        return folder

    yield sized
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # lazy: a failure may hold a file open


@pytest.fixture
def servers() -> Callable[[Path], list[int]]:
    """The process ids of the Weaviate servers of a clone."""
    return servers_below


@pytest.fixture
def keepers() -> Callable[[Path], list[int]]:
    """The process ids of the keepers of a clone."""
    return keepers_below


@contextmanager
def made_clone(folder: Path) -> Iterator[Path]:
    """Make a clone, enter it, and end every server and keeper below it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WEAVIATE_URL", "WEAVIATE_GRPC_PORT", "WEAVIATE_API_KEY", "GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR"):
            patch.delenv(name, raising=False)
        patch.chdir(ROOT)
        binaries = place.shared_state() / "weaviate/bin"
        (folder / ".state/weaviate").mkdir(parents=True)
        (folder / ".state/weaviate/bin").symlink_to(binaries)
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
        patch.chdir(folder)
        try:
            yield folder
        finally:
            end(folder)


def end(folder: Path) -> None:
    """End keepers and servers of every clone below `folder`: asked first, then killed. Nobody is left when this returns."""
    for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        for pid in keepers_below(folder) + servers_below(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience
        while keepers_below(folder) + servers_below(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
    left = keepers_below(folder) + servers_below(folder)
    assert left == [], f"processes {left} of {folder} outlived the test"


def servers_below(folder: Path) -> list[int]:
    """Weaviate processes whose data lies below `folder`."""
    return [pid for pid, words in _processes("environ") if any(word.startswith(f"PERSISTENCE_DATA_PATH={folder}/") for word in words)]


def keepers_below(folder: Path) -> list[int]:
    """Keepers whose folder lies below `folder`."""
    return [pid for pid, words in _processes("cmdline") if KEEPER in words and words[-1].startswith(f"{folder}/")]


def _processes(file: str) -> Iterator[tuple[int, list[str]]]:
    """Process id and the words of /proc/PID/`file`; processes that end meanwhile, or are not ours, are left out."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                yield int(entry.name), (entry / file).read_bytes().decode(errors="replace").rstrip("\0").split("\0")
