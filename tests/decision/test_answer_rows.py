from typing import Any, cast

import numpy as np
import pytest

from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.answers import ANSWERS
from pipelines.decision import answer_rows
from pipelines.decision.answer_rows import Scorer
from pipelines.decision.systems import Case, Reply
from pipelines.questions.golden import Golden
from pipelines.runtime.generation import Answer
from pipelines.vectorstore import Encoder, Passage

CONFIG = EvaluateConfig(
    top_k=5,
    num_passages=1,
    max_readings=1,
    max_prompt_tokens=1000,
    max_new_tokens=8,
    batch_size=2,
    precision="fp32",
    num_base_questions=150,
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
    return Scorer(CONFIG, cast(Encoder, OrthogonalEncoder()), [REFUSAL], min_support=0.75)


def reply(text: str, passages: list[Passage], withheld: str | None = None) -> Reply:
    """An answer that was read from the first passage."""
    return Reply(Answer(text, 9, 4, -0.1), passages[:1], withheld)


def test_a_row_has_every_column_of_the_contract(scorer: Scorer) -> None:
    replies = [reply("Type make run.", PASSAGES)]
    (row,) = answer_rows.score("candidate", [Case(IN_SCOPE, PASSAGES)], replies, scorer)
    assert sorted(row) == sorted(ANSWERS.names)
    assert row["system"] == "candidate"
    assert row["id"] == "setup-1"
    assert (row["num_prompt_tokens"], row["num_new_tokens"]) == (9, 4)
    assert row["retrieved"] == ["a.md", "b.md"]
    assert row["cited"] == ["c-1"]


def test_a_right_answer_is_an_exact_match_that_its_passage_supports(scorer: Scorer) -> None:
    replies = [reply("type make run", PASSAGES), reply("Type make run.", PASSAGES)]
    cases = [Case(IN_SCOPE, PASSAGES)] * 2
    first, second = answer_rows.score("candidate", cases, replies, scorer)
    assert (first["exact_match"], first["token_f1"], first["rouge_l"]) == (1.0, 1.0, 1.0)
    assert (second["groundedness"], second["embedding_similarity"]) == (1.0, 1.0)
    assert (second["hit_at_1"], second["hit_at_3"], second["mrr"]) == (0.0, 1.0, 0.5)


def test_a_refusal_is_right_out_of_scope_and_false_in_scope_and_has_no_groundedness(
    scorer: Scorer,
) -> None:
    cases = [Case(OUT_OF_SCOPE, PASSAGES), Case(IN_SCOPE, PASSAGES)]
    replies = [reply(REFUSAL.upper(), PASSAGES)] * 2
    out_of_scope, in_scope = answer_rows.score("base", cases, replies, scorer)
    assert (out_of_scope["refusal_recall"], out_of_scope["false_refusal"]) == (1.0, None)
    assert (in_scope["refusal_recall"], in_scope["false_refusal"]) == (None, 1.0)
    assert (out_of_scope["groundedness"], in_scope["groundedness"]) == (None, None)
    assert (out_of_scope["hit_at_5"], out_of_scope["mrr"]) == (None, None)


def test_without_passages_an_answer_has_no_support(scorer: Scorer) -> None:
    replies = [reply("Type make run.", [])]
    (row,) = answer_rows.score("candidate", [Case(IN_SCOPE, [])], replies, scorer)
    assert (row["groundedness"], row["cited"], row["hit_at_5"]) == (0.0, [], 0.0)
    assert row["supported"] == 0.0


STRIPES = Golden(
    id="zoo-1",
    question="What does the zebra have?",
    expected="black stripes",
    topic="documents",
    page="b.md",
    kind="document",
    style="plain",
    alternatives=["stripes all over"],
    evidence="The zebra has black stripes.",
    documents="unseen",
)
TAIL = STRIPES.model_copy(
    update={
        "id": "zoo-2",
        "kind": "unanswerable",
        "expected": REFUSAL,
        "alternatives": [],
        "evidence": None,
    }
)
ZOO = [
    Passage("c-1", "b.md", [], "The zebra  has\nblack stripes.", 0.9),
    Passage("c-2", "a.md", [], "The cow has spots.", 0.8),
]


def test_an_answer_about_a_document_is_measured_by_the_nearest_right_answer(
    scorer: Scorer,
) -> None:
    replies = [reply("Stripes all over.", ZOO), reply("It has black stripes.", ZOO)]
    first, second = answer_rows.score("candidate", [Case(STRIPES, ZOO)] * 2, replies, scorer)
    assert (first["exact_match"], first["document_match"], first["document_f1"]) == (1, 1, 1)
    assert (first["answer_contained"], second["answer_contained"]) == (1, 1)
    assert (second["document_match"], second["document_f1"]) == (0, pytest.approx(2 / 3))
    assert second["unseen_f1"] == second["document_f1"]
    assert (first["supported"], second["supported"]) == (0, 1)
    assert (first["faq_match"], first["unanswerable_refused"]) == (None, None)


def test_only_questions_about_unseen_documents_count_as_unseen(scorer: Scorer) -> None:
    seen = STRIPES.model_copy(update={"documents": "seen"})
    (row,) = answer_rows.score("candidate", [Case(seen, ZOO)], [reply("stripes", ZOO)], scorer)
    assert (row["unseen_f1"], row["documents"]) == (None, "seen")


def test_evidence_is_hit_if_a_passage_that_is_shown_holds_it(scorer: Scorer) -> None:
    cases = [Case(STRIPES, ZOO)] * 3
    replies = [reply("stripes", passages) for passages in (ZOO, ZOO[::-1], [])]
    rows = answer_rows.score("candidate", cases, replies, scorer)
    assert [row["evidence_hit"] for row in rows] == [1.0, 0.0, 0.0]  # one passage is shown
    assert [row["cited"] for row in rows] == [["c-1"], ["c-2"], []]


def test_an_unanswerable_question_is_right_if_it_is_refused_in_any_words(scorer: Scorer) -> None:
    replies = [reply(REFUSAL, ZOO), reply("black", ZOO)]
    refused, answered = answer_rows.score("candidate", [Case(TAIL, ZOO)] * 2, replies, scorer)
    assert (refused["unanswerable_refused"], answered["unanswerable_refused"]) == (1.0, 0.0)
    assert (refused["refusal_recall"], refused["refusal_precision"]) == (1.0, 1.0)
    assert (refused["exact_match"], refused["token_f1"], refused["answered"]) == (None, None, None)
    assert (refused["supported"], answered["supported"]) == (None, 1.0)
    assert (refused["hit_at_1"], refused["document_f1"]) == (None, None)


def test_refusals_are_counted_for_and_against_a_system(scorer: Scorer) -> None:
    replies = [reply(REFUSAL, PASSAGES, withheld="Ask Ada."), reply("Type make run.", PASSAGES)]
    withheld, answered = answer_rows.score("base", [Case(IN_SCOPE, PASSAGES)] * 2, replies, scorer)
    assert (withheld["withheld"], answered["withheld"]) == ("Ask Ada.", None)
    assert (withheld["answered"], answered["answered"]) == (0.0, 1.0)
    assert (withheld["refusal_precision"], answered["refusal_precision"]) == (0.0, None)
    assert (withheld["faq_match"], answered["faq_match"]) == (0.0, 1.0)


def test_support_is_not_measured_for_a_template_without_passages() -> None:
    scorer = Scorer(CONFIG, cast(Encoder, OrthogonalEncoder()), [REFUSAL], min_support=None)
    (row,) = answer_rows.score("candidate", [Case(STRIPES, ZOO)], [reply("stripes", ZOO)], scorer)
    assert row["supported"] is None


def test_the_faqs_own_document_answers_a_question_of_the_faq_and_no_other() -> None:
    uris = ["faq/setup", "faq/documents", "other/setup", "c.md"]
    assert answer_rows.relevant_pages(IN_SCOPE, uris) == {"b.md", "faq/setup", "other/setup"}
    assert answer_rows.relevant_pages(STRIPES, uris) == {"b.md"}
