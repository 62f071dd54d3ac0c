"""Scores the answers of one system, question by question: the rows of answers.parquet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.answers import RETRIEVAL
from pipelines.decision import scoring
from pipelines.decision.systems import Case
from pipelines.runtime import comparison
from pipelines.runtime.generation import Answer
from pipelines.vectorstore import Encoder

Row = dict[str, Any]  # as contracts/answers.py says
Metrics = dict[str, float | None]  # None: the metric does not apply to the question


@dataclass(frozen=True)
class Scorer:
    """What scoring needs beside questions and answers."""

    config: EvaluateConfig
    encoder: Encoder
    refusals: list[str]  # the answers that refuse a question, as the FAQ words them

    def is_refusal(self, text: str) -> bool:
        forms = {comparison.normalize(refusal) for refusal in self.refusals}
        return comparison.normalize(text) in forms


def score(system: str, cases: list[Case], answers: list[Answer], scorer: Scorer) -> list[Row]:
    """One row for each question, with every metric."""
    texts = [answer.text for answer in answers]
    targets = [case.question.expected for case in cases]
    similarities = _similarities(texts, targets, scorer.encoder)
    rouge = scoring.rouge_l(texts, targets)
    groundedness = _groundedness(texts, cases, scorer)
    rows: list[Row] = []
    for number, case in enumerate(cases):
        is_refusal = scorer.is_refusal(texts[number])
        row = _describe(system, case, answers[number], scorer.config.num_passages)
        row |= _generation_metrics(case, texts[number], is_refusal)
        row["rouge_l"] = rouge[number]
        row["embedding_similarity"] = similarities[number]
        row["groundedness"] = None if is_refusal else groundedness[number]
        row |= _retrieval_metrics(case)
        rows.append(row)
    return rows


def _describe(system: str, case: Case, answer: Answer, num_passages: int) -> Row:
    """The columns that are not metrics."""
    uris = [passage.uri for passage in case.passages]
    chunk_ids = [passage.chunk_id for passage in case.passages]
    return {
        "system": system,
        **case.question.model_dump(),
        "answer": answer.text,
        "retrieved": uris,
        "cited": chunk_ids[:num_passages],
        "num_prompt_tokens": answer.num_prompt_tokens,
        "num_new_tokens": answer.num_new_tokens,
    }


def _generation_metrics(case: Case, text: str, is_refusal: bool) -> Metrics:
    target = case.question.expected
    is_in_scope = case.question.kind == "faq"
    return {
        "exact_match": scoring.exact_match(text, target),
        "token_f1": scoring.token_f1(text, target),
        "refusal_recall": None if is_in_scope else float(is_refusal),
        "false_refusal": float(is_refusal) if is_in_scope else None,
    }


def _retrieval_metrics(case: Case) -> Metrics:
    if case.question.page is None:
        return dict.fromkeys(RETRIEVAL)
    uris = [passage.uri for passage in case.passages]
    return dict(scoring.retrieval(uris, case.question.page))


def _similarities(texts: list[str], targets: list[str], encoder: Encoder) -> list[float]:
    """Cosine of each answer with its target, from 0 to 1."""
    vectors = encoder.lookup([*texts, *targets])
    similarities: list[float] = []
    for text, target in zip(texts, targets, strict=True):
        cosine = float(vectors[text] @ vectors[target])
        similarities.append(round(min(1.0, max(0.0, cosine)), 6))
    return similarities


def _groundedness(texts: list[str], cases: list[Case], scorer: Scorer) -> list[float]:
    """Share of each answer's sentences that a sentence of a retrieved passage supports.

    That is: a cosine of at least `evaluate.grounded_similarity`.
    """
    claims = [comparison.sentences(text) for text in texts]
    supports = [_support(case, scorer.config.num_passages) for case in cases]
    sentences: list[str] = []
    for group in (*supports, *claims):
        sentences += group
    vectors = scorer.encoder.lookup(sentences)
    shares: list[float] = []
    for claim, support in zip(claims, supports, strict=True):
        if not support:
            shares.append(0.0)
            continue
        cosines = _stack(vectors, claim) @ _stack(vectors, support).T
        is_grounded = cosines.max(axis=1) >= scorer.config.grounded_similarity
        shares.append(float(is_grounded.mean()))
    return shares


def _support(case: Case, num_passages: int) -> list[str]:
    """The sentences of the passages that are cited."""
    sentences: list[str] = []
    for passage in case.passages[:num_passages]:
        sentences += comparison.sentences(passage.text)
    return sentences


def _stack(vectors: dict[str, Any], sentences: Sequence[str]) -> Any:
    return np.stack([vectors[sentence] for sentence in sentences])
