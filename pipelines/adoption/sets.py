"""Exchanges the set of questions and settings in use for another.

Everything is renamed, nothing is copied or deleted: each folder of a set lies either where it is
used or in data/aside/<set>. A switch writes down first what it is about to do, so that the same
command finishes it after a kill at any instant.
"""

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipelines import files

ASIDE = Path("data/aside")
STATE = ASIDE / "adoption.json"
SWITCH = ASIDE / "switch"  # exists while a switch is under way
PLAN = SWITCH / "plan.json"
PARAMS = Path("params.yaml")
SAMPLE = "sample"
FOLDERS = (
    Path("data/faq"),
    Path("data/golden"),
    Path("data/qa/training"),
    Path("data/qa/golden"),
    Path("data/drafts"),
    Path("data/scenarios"),
)
RECORDS = Path("data/reviews.jsonl")  # stays: it names its own pages


class State(BaseModel):
    """Which set is in use, and what adopting it took out of `gate.floors`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: str | None  # where its documents came from; null for the sample
    removed_floors: dict[str, float] = Field(default_factory=dict)


class Plan(BaseModel):
    """A switch under way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    old: str
    new: State


def current() -> State:
    """The set in use."""
    if not STATE.exists():
        return State(name=SAMPLE, address=None)
    return files.read_json(STATE, State)


def folder(name: str) -> Path:
    """Where a set lies that is not in use."""
    return ASIDE / name


def switch(new: State, params_text: str) -> None:
    """Put the set in use aside and the set `new` in use; its folders lie in data/aside/<name>.

    Folders that either set lacks are empty ones. Repeatable after a kill by `finish`.
    """
    plan = Plan(old=current().name, new=new)
    # So that where a folder stands tells how far the switch has come.
    for path in FOLDERS:
        path.mkdir(parents=True, exist_ok=True)
        (folder(new.name) / path).mkdir(parents=True, exist_ok=True)
    with files.replacing(SWITCH) as target:
        target.mkdir()
        files.write_json(target / PLAN.name, plan)
        files.write_text(target / PARAMS.name, params_text)
    finish()


def finish() -> Plan | None:
    """Finish the switch that was interrupted; None if there was none."""
    if not PLAN.exists():
        return None
    plan = files.read_json(PLAN, Plan)
    old_folder = folder(plan.old)
    new_folder = folder(plan.new.name)
    for path in FOLDERS:
        aside = old_folder / path
        if not aside.exists():
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside)
        if (new_folder / path).exists() and not path.exists():
            (new_folder / path).rename(path)
    if not (old_folder / PARAMS.name).exists():
        shutil.copy(PARAMS, SWITCH / "old.yaml")
        (SWITCH / "old.yaml").rename(old_folder / PARAMS.name)
    if (SWITCH / PARAMS.name).exists():
        (SWITCH / PARAMS.name).replace(PARAMS)
    files.write_json(STATE, plan.new)
    (new_folder / PARAMS.name).unlink(missing_ok=True)
    # Renamed first: a plan that is half removed would be followed again.
    leftover = ASIDE / ".finished"
    shutil.rmtree(leftover, ignore_errors=True)
    SWITCH.rename(leftover)
    shutil.rmtree(leftover)
    _remove_empty(new_folder)
    return plan


def _remove_empty(root: Path) -> None:
    """Remove a folder whose content has been put in use, unless a file is left in it."""
    if root.exists() and not any(path.is_file() for path in root.rglob("*")):
        shutil.rmtree(root)
