"""Scores the answers of one system, question by question: the rows of answers.parquet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.answers import READING, RETRIEVAL
from pipelines.decision import scoring
from pipelines.decision.systems import Case, Reply, prompt_texts
from pipelines.questions import document_questions
from pipelines.questions.golden import Golden
from pipelines.runtime import comparison, support
from pipelines.vectorstore import Encoder, Passage

Row = dict[str, Any]  # as contracts/answers.py says
Metrics = dict[str, float | None]  # None: the metric does not apply to the question


@dataclass(frozen=True)
class Scorer:
    """What scoring needs beside questions and answers."""

    config: EvaluateConfig
    encoder: Encoder
    refusals: list[str]  # the answers that refuse a question, as FAQ and template word them
    min_support: float | None  # from which an answer counts as supported; None: not measured

    def is_refusal(self, text: str) -> bool:
        forms = {comparison.normalize(refusal) for refusal in self.refusals}
        return comparison.normalize(text) in forms


def score(system: str, cases: list[Case], replies: list[Reply], scorer: Scorer) -> list[Row]:
    """One row for each question, with every metric."""
    texts = [reply.answer.text for reply in replies]
    targets = [case.question.expected for case in cases]
    similarities = _similarities(texts, targets, scorer.encoder)
    rouge = scoring.rouge_l(texts, targets)
    groundedness = _groundedness(replies, scorer)
    rows: list[Row] = []
    for number, case in enumerate(cases):
        is_refusal = scorer.is_refusal(texts[number])
        row = _describe(system, case, replies[number])
        row |= _generation_metrics(case, texts[number], is_refusal)
        row |= _reading_metrics(case, replies[number], is_refusal, scorer)
        row["withheld"] = replies[number].withheld
        row["rouge_l"] = rouge[number]
        row["embedding_similarity"] = similarities[number]
        row["groundedness"] = None if is_refusal else groundedness[number]
        row |= _retrieval_metrics(case)
        rows.append(row)
    return rows


def _describe(system: str, case: Case, reply: Reply) -> Row:
    """The columns that are not metrics."""
    uris = [passage.uri for passage in case.passages]
    chunk_ids = [passage.chunk_id for passage in reply.passages]
    return {
        "system": system,
        **case.question.model_dump(),
        "answer": reply.answer.text,
        "retrieved": uris,
        "cited": chunk_ids,
        "num_prompt_tokens": reply.answer.num_prompt_tokens,
        "num_new_tokens": reply.answer.num_new_tokens,
    }


def _generation_metrics(case: Case, text: str, is_refusal: bool) -> Metrics:
    question = case.question
    metrics: Metrics = {
        "exact_match": scoring.best_of(scoring.exact_match, text, question.answers),
        "token_f1": scoring.best_of(scoring.token_f1, text, question.answers),
        "refusal_recall": None,
        "false_refusal": None,
        "answered": None,
        "refusal_precision": float(question.expects_refusal) if is_refusal else None,
    }
    if question.expects_refusal:
        metrics["refusal_recall"] = float(is_refusal)
    else:
        metrics["false_refusal"] = float(is_refusal)
        metrics["answered"] = float(not is_refusal)
    if question.kind == "unanswerable":
        # Any wording of a refusal is right, so the words say nothing.
        metrics["exact_match"] = metrics["token_f1"] = None
    return metrics


def _reading_metrics(case: Case, reply: Reply, is_refusal: bool, scorer: Scorer) -> Metrics:
    """What tells how well the passages were read."""
    question = case.question
    text = reply.answer.text
    metrics: Metrics = dict.fromkeys(READING)
    if not is_refusal and scorer.min_support is not None:
        share = support.measure(text, prompt_texts(reply.passages)).share
        metrics["supported"] = float(share >= scorer.min_support)
    if question.kind == "faq":
        metrics["faq_match"] = scoring.exact_match(text, question.expected)
    if question.kind == "unanswerable":
        metrics["unanswerable_refused"] = float(is_refusal)
    if question.kind == "document":
        f1 = scoring.best_of(scoring.token_f1, text, question.answers)
        metrics["document_match"] = scoring.best_of(scoring.exact_match, text, question.answers)
        metrics["document_f1"] = f1
        metrics["unseen_f1"] = f1 if question.documents == "unseen" else None
        metrics["answer_contained"] = scoring.best_of(
            scoring.contains_answer, text, question.answers
        )
        metrics["evidence_hit"] = float(_shows_evidence(question, reply.passages))
    return metrics


def _shows_evidence(question: Golden, passages: list[Passage]) -> bool:
    evidence = question.evidence or ""
    return any(document_questions.contains(passage.text, evidence) for passage in passages)


def _retrieval_metrics(case: Case) -> Metrics:
    question = case.question
    if question.page is None or question.expects_refusal:
        return dict.fromkeys(RETRIEVAL)
    uris = [passage.uri for passage in case.passages]
    return dict(scoring.retrieval(uris, relevant_pages(question, uris)))


def relevant_pages(question: Golden, uris: Sequence[str]) -> set[str]:
    """The question's page, and the FAQ's own document of its topic if that is among `uris`."""
    pages = {question.page} if question.page is not None else set()
    if question.kind == "faq":
        pages |= {uri for uri in uris if uri.partition("/")[2] == question.topic}
    return pages


def _similarities(texts: list[str], targets: list[str], encoder: Encoder) -> list[float]:
    """Cosine of each answer with its target, from 0 to 1."""
    vectors = encoder.lookup([*texts, *targets])
    similarities: list[float] = []
    for text, target in zip(texts, targets, strict=True):
        cosine = float(vectors[text] @ vectors[target])
        similarities.append(round(min(1.0, max(0.0, cosine)), 6))
    return similarities


def _groundedness(replies: list[Reply], scorer: Scorer) -> list[float]:
    """Share of each answer's sentences that a sentence of a cited passage supports.

    That is: a cosine of at least `evaluate.grounded_similarity`.
    """
    claims = [comparison.sentences(reply.answer.text) for reply in replies]
    supports = [_support(reply.passages) for reply in replies]
    sentences: list[str] = []
    for group in (*supports, *claims):
        sentences += group
    vectors = scorer.encoder.lookup(sentences)
    shares: list[float] = []
    for claim, evidence in zip(claims, supports, strict=True):
        if not evidence:
            shares.append(0.0)
            continue
        cosines = _stack(vectors, claim) @ _stack(vectors, evidence).T
        is_grounded = cosines.max(axis=1) >= scorer.config.grounded_similarity
        shares.append(float(is_grounded.mean()))
    return shares


def _support(passages: list[Passage]) -> list[str]:
    """The sentences of the passages that are cited."""
    sentences: list[str] = []
    for passage in passages:
        sentences += comparison.sentences(passage.text)
    return sentences


def _stack(vectors: dict[str, Any], sentences: Sequence[str]) -> Any:
    return np.stack([vectors[sentence] for sentence in sentences])
