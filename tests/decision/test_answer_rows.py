from typing import Any, cast

import numpy as np
import pytest

from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.answers import ANSWERS
from pipelines.decision import answer_rows
from pipelines.decision.answer_rows import Scorer
from pipelines.decision.systems import Case
from pipelines.questions.golden import Golden
from pipelines.runtime.generation import Answer
from pipelines.vectorstore import Encoder, Passage

CONFIG = EvaluateConfig(
    top_k=5,
    num_passages=1,
    max_new_tokens=8,
    batch_size=2,
    precision="fp32",
    num_resamples=200,
    grounded_similarity=0.9,
    seed=7,
)
REFUSAL = "I cannot help with that."
IN_SCOPE = Golden(
    id="setup-1",
    question="How do I start?",
    expected="Type make run.",
    topic="setup",
    page="b.md",
    kind="faq",
    style="plain",
)
OUT_OF_SCOPE = Golden(
    id="weather-1",
    question="Will it rain?",
    expected=REFUSAL,
    topic="refusal",
    page=None,
    kind="out_of_scope",
    style="plain",
)
PASSAGES = [
    Passage(chunk_id="c-1", uri="a.md", headings=[], text="Type make run.", similarity=0.9),
    Passage(chunk_id="c-2", uri="b.md", headings=[], text="Then wait.", similarity=0.8),
]


class OrthogonalEncoder:
    """Every text's vector is orthogonal to those of all others."""

    def __init__(self) -> None:
        self.positions: dict[str, int] = {}

    def lookup(self, texts: list[str]) -> dict[str, Any]:
        vectors: dict[str, Any] = {}
        for text in texts:
            position = self.positions.setdefault(text, len(self.positions))
            vectors[text] = np.eye(64)[position]
        return vectors


@pytest.fixture
def scorer() -> Scorer:
    return Scorer(CONFIG, cast(Encoder, OrthogonalEncoder()), [REFUSAL])


def test_a_row_has_every_column_of_the_contract(scorer: Scorer) -> None:
    answers = [Answer("Type make run.", 9, 4, -0.1)]
    (row,) = answer_rows.score("candidate", [Case(IN_SCOPE, PASSAGES)], answers, scorer)
    assert sorted(row) == sorted(ANSWERS.names)
    assert row["system"] == "candidate"
    assert row["id"] == "setup-1"
    assert (row["num_prompt_tokens"], row["num_new_tokens"]) == (9, 4)
    assert row["retrieved"] == ["a.md", "b.md"]
    assert row["cited"] == ["c-1"]


def test_a_right_answer_is_an_exact_match_that_its_passage_supports(scorer: Scorer) -> None:
    answers = [Answer("type make run", 9, 4, -0.1), Answer("Type make run.", 9, 4, -0.1)]
    cases = [Case(IN_SCOPE, PASSAGES)] * 2
    first, second = answer_rows.score("candidate", cases, answers, scorer)
    assert (first["exact_match"], first["token_f1"], first["rouge_l"]) == (1.0, 1.0, 1.0)
    assert (second["groundedness"], second["embedding_similarity"]) == (1.0, 1.0)
    assert (second["hit_at_1"], second["hit_at_3"], second["mrr"]) == (0.0, 1.0, 0.5)


def test_a_refusal_is_right_out_of_scope_and_false_in_scope_and_has_no_groundedness(
    scorer: Scorer,
) -> None:
    cases = [Case(OUT_OF_SCOPE, PASSAGES), Case(IN_SCOPE, PASSAGES)]
    answers = [Answer(REFUSAL.upper(), 9, 4, -0.1)] * 2
    out_of_scope, in_scope = answer_rows.score("base", cases, answers, scorer)
    assert (out_of_scope["refusal_recall"], out_of_scope["false_refusal"]) == (1.0, None)
    assert (in_scope["refusal_recall"], in_scope["false_refusal"]) == (None, 1.0)
    assert (out_of_scope["groundedness"], in_scope["groundedness"]) == (None, None)
    assert (out_of_scope["hit_at_5"], out_of_scope["mrr"]) == (None, None)


def test_without_passages_an_answer_has_no_support(scorer: Scorer) -> None:
    answers = [Answer("Type make run.", 9, 4, -0.1)]
    (row,) = answer_rows.score("candidate", [Case(IN_SCOPE, [])], answers, scorer)
    assert (row["groundedness"], row["cited"], row["hit_at_5"]) == (0.0, [], 0.0)
