"""What the askers of an experiment tell about its metric: one value each, from 0 to 1.

An asker stays with one release, so their many requests are not independent; each is counted once,
by the first of their requests or ratings that the metric applies to. 1 is always the bad end.
"""

from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from pipelines.runtime import routing
from pipelines.runtime.comparison import normalize
from pipelines.serving.experiment_record import Experiment

Row = dict[str, Any]  # of the traffic log
SAME_QUESTION = 0.8  # similarity from which on a question is asked again, in other words or not

MEANINGS = {
    "thumbs": "askers whose first thumb is down, of those who gave one",
    "corrections": "askers whose first feedback corrects the answer, of those who gave any",
    "refusals": "askers whose first answer refuses",
    "groundedness": "share of an asker's first answer that stands in none of its passages",
    "repeats": "askers who ask much the same question again",
}


class Outcome(NamedTuple):
    """One asker. `time`: seconds since 1970 at which the value was known."""

    time: float
    is_new: bool
    value: float


class Asker(NamedTuple):
    """The answered requests of an asker, oldest first, and their feedback likewise."""

    requests: list[Row]
    feedback: list[Row]


class Reading(NamedTuple):
    """A value and since when it is known."""

    time: float
    value: float


def collect(
    experiment: Experiment, rows: list[Row], feedback: list[Row], now: float
) -> list[Outcome]:
    """All outcomes that are known by `now`, in the order in which they became known."""
    read = _READERS[experiment.config.metric]
    outcomes: list[Outcome] = []
    for position, asker in _askers(experiment, rows, feedback).items():
        reading = read(asker, experiment.config.repeat_seconds)
        if reading is not None and reading.time <= now:
            is_new = routing.pick(experiment.shares, position) == experiment.new
            outcomes.append(Outcome(reading.time, is_new, reading.value))
    return sorted(outcomes)


def _askers(experiment: Experiment, rows: list[Row], feedback: list[Row]) -> Mapping[float, Asker]:
    """By position. What another release answered than the experiment's routes say is left out."""
    askers: dict[float, Asker] = {}
    position_by_request: dict[str, float] = {}
    for row in rows:
        position = row["position"]
        if position is None or _time(row) < experiment.start or row["status"] != "ok":
            continue
        if routing.pick(experiment.shares, position) == row["release_id"]:
            askers.setdefault(position, Asker([], [])).requests.append(row)
            position_by_request[row["request_id"]] = position
    for row in feedback:
        if row["request_id"] in position_by_request:
            askers[position_by_request[row["request_id"]]].feedback.append(row)
    return askers


def _read_thumb(asker: Asker, _seconds: float) -> Reading | None:
    for row in asker.feedback:
        if row["thumb"] is not None:
            return Reading(_time(row), float(row["thumb"] < 0))
    return None


def _read_correction(asker: Asker, _seconds: float) -> Reading | None:
    if not asker.feedback:
        return None
    first = asker.feedback[0]
    return Reading(_time(first), float(first["correction"] is not None))


def _read_refusal(asker: Asker, _seconds: float) -> Reading | None:
    first = asker.requests[0]
    return Reading(_time(first), float(first["refused"]))


def _read_groundedness(asker: Asker, _seconds: float) -> Reading | None:
    for row in asker.requests:
        if row["groundedness"] is not None:
            return Reading(_time(row), 1.0 - row["groundedness"])
    return None


def _read_repeat(asker: Asker, seconds: float) -> Reading | None:
    """Known when the time is over, so that those who repeat are not counted before the others."""
    first, *later_rows = asker.requests
    end = _time(first) + seconds
    is_repeated = False
    for row in later_rows:
        is_repeated |= _time(row) <= end and _is_same_question(first, row)
    return Reading(end, float(is_repeated))


def _is_same_question(first: Row, second: Row) -> bool:
    texts = normalize(first["question"]), normalize(second["question"])
    return SequenceMatcher(None, *texts, autojunk=False).ratio() >= SAME_QUESTION


def _time(row: Row) -> float:
    return float(row["time"].timestamp())


_READERS: dict[str, Callable[[Asker, float], Reading | None]] = {
    "thumbs": _read_thumb,
    "corrections": _read_correction,
    "refusals": _read_refusal,
    "groundedness": _read_groundedness,
    "repeats": _read_repeat,
}
