"""Knows the signals: what a row of traffic shows about input, retrieval, output, quality and operations.

A column signal is a number a row; a kernel signal is a likeness of every two rows. `new_topic` is the strongest on questions: it looks for
questions that are far from everything known *and* near to one another. On clinc150 (20 of 100 questions of a domain that training
never saw) it alone finds 97 to 100 % where the plain distances below find 25 to 75 % (tests/bench/test_drift_detection.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.contracts.drift import Group
from pipelines.encoding import Vectors
from pipelines.monitoring.calibration import Column, Kernel, Matrix, Numbers
from pipelines.wording import normal

BANDWIDTH = 0.3  # of 1 - cosine; 0.2 to 0.5 found as much on clinc150, 0.05 and 1.0 less
SAME_QUESTION = 0.9  # cosine from which a live question counts as one whose answer is known
CLASSIFIER_DIMENSIONS = 20  # principal components that the domain classifier sees; more would need more than 100 rows

GROUPS: dict[str, Group] = {
    "new_topic": "input", "unfamiliar_questions": "input", "question_embedding": "input", "domain_classifier": "input", "question_length": "input", "other_language": "input", "out_of_scope": "input",
    "best_score": "retrieval", "score_gap": "retrieval", "empty_results": "retrieval", "answering_pages": "retrieval",
    "answer_length": "output", "refusals": "output", "groundedness": "output", "repeated_answers": "output", "guard_flags": "output",
    "thumbs_down": "quality", "corrections": "quality", "agreement": "quality",
    "latency": "operations", "new_tokens": "operations", "prompt_tokens": "operations", "cost": "operations", "failures": "operations",
}  # fmt: skip
MEANING = {
    "new_topic": "questions that are far from all known ones and near to one another", "unfamiliar_questions": "questions far from all known ones",
    "question_embedding": "the spread of question vectors", "domain_classifier": "what a linear classifier tells window and baseline apart by", "question_length": "the length of questions",
    "other_language": "questions in another language than most known ones", "out_of_scope": "questions nearest to known out-of-scope ones",
    "best_score": "the best passage's score", "score_gap": "the gap between best and second passage", "empty_results": "searches that found nothing", "answering_pages": "which pages answer",
    "answer_length": "the length of answers", "refusals": "refused answers", "groundedness": "how far passages support the answers", "repeated_answers": "one answer for many questions",
    "guard_flags": "requests that the guard flagged", "thumbs_down": "thumbs down among thumbs", "corrections": "requests that users corrected",
    "agreement": "answers that agree with reviewed ones to the same question", "latency": "the time an answer takes", "new_tokens": "tokens written", "prompt_tokens": "tokens read", "cost": "the cost of a request",
    "failures": "failed requests",
}  # fmt: skip
LOGARITHMS = {"latency": np.exp, "question_length": np.expm1, "answer_length": np.expm1}  # signals of logarithms, and what makes a mean readable


@dataclass(frozen=True)
class Known:
    """The questions that the release was made with: training and golden set. `expected`: the answer, `refusal`: whether it is a refusal."""

    questions: list[str]
    expected: list[str]
    refusal: npt.NDArray[np.bool_]
    golden: npt.NDArray[np.bool_]
    vectors: Vectors  # shape (questions, dimensions)

    def training(self) -> "Known":
        """Without the golden questions: what they themselves are compared with."""
        kept = np.flatnonzero(~self.golden)
        return Known([self.questions[place] for place in kept], [self.expected[place] for place in kept], self.refusal[kept], self.golden[kept], self.vectors[kept])


def columns(rows: pd.DataFrame, vectors: Vectors, known: Known) -> list[Column]:
    """The column signals of pooled rows (contracts.window), with their unit question vectors."""
    likeness = vectors @ known.vectors.T
    nearest, best = likeness.argmax(axis=1), likeness.max(axis=1)
    answered = (rows["status"] == "ok").to_numpy()
    served = rows["time"].notna().to_numpy()  # rows made of golden questions have no feedback, times or costs
    found: list[tuple[str, Numbers, int]] = [
        ("unfamiliar_questions", unfamiliarity(best), 1),
        ("question_length", np.log1p(rows["question"].str.len().to_numpy(dtype=float)), 0),
        ("other_language", other_language(rows["question"].tolist()), 1),
        ("out_of_scope", known.refusal[nearest].astype(float), 1),
        ("best_score", _numbers(rows["best_score"]), 0),
        ("score_gap", _numbers(rows["score_gap"]), 0),
        ("empty_results", _where(answered & rows["num_retrieved"].notna(), _numbers(rows["num_retrieved"]) == 0), 1),
        ("answer_length", np.log1p(rows["answer"].str.len().to_numpy(dtype=float)), 0),
        ("refusals", _where(answered & rows["refused"].notna(), _numbers(rows["refused"]) > 0), 0),
        ("groundedness", _numbers(rows["groundedness"]), 0),
        ("guard_flags", _where(rows["num_guard_flags"].notna(), _numbers(rows["num_guard_flags"]) > 0), 1),
        ("thumbs_down", _where(rows["thumb"].notna(), _numbers(rows["thumb"]) < 0), 1),
        ("corrections", _where(served, rows["correction"].notna()), 1),
        ("agreement", _agreement(rows["answer"].tolist(), nearest, best, known), -1),
        ("latency", np.log(np.maximum(_numbers(rows["total_ms"]), 0.01)), 1),
        ("new_tokens", np.where(answered, _numbers(rows["num_new_tokens"]), np.nan), 0),
        ("prompt_tokens", np.where(answered, _numbers(rows["num_prompt_tokens"]), np.nan), 0),
        ("cost", _numbers(rows["cost"]), 1),
        ("failures", _where(served, rows["status"] == "failed"), 1),
    ]
    return [Column(name, values, side) for name, values, side in found]


def kernels(rows: pd.DataFrame, vectors: Vectors, known: Known) -> list[Kernel]:
    """The kernel signals of pooled rows."""
    cosine = vectors @ vectors.T
    weight = unfamiliarity((vectors @ known.vectors.T).max(axis=1)).astype(np.float32)
    near = np.exp((cosine - 1) / np.float32(BANDWIDTH))
    made = [Kernel("new_topic", near * np.outer(weight, weight), True), Kernel("question_embedding", near, True), Kernel("domain_classifier", _discriminant(vectors), True)]
    pages, answers = rows["top_page"], rows["answer"].map(lambda text: normal(text) if isinstance(text, str) else None)
    if pages.nunique() > 1:
        made.append(Kernel("answering_pages", _same(pages, rare_counts_more=True), True))
    if answers.nunique() > 1:
        made.append(Kernel("repeated_answers", _same(answers, rare_counts_more=False), False))
    return made


def unfamiliarity(best: Numbers | Vectors) -> Numbers:
    """-log of the share of pooled rows that are at least as far from everything known: 0 for the most familiar, log(2 rows) for the least."""
    from scipy.stats import rankdata

    rank = rankdata(-np.asarray(best, dtype=float))  # equal ones share their rank: a tie must not favour whoever stands first
    return np.asarray(-np.log(1 - (rank - 0.5) / len(rank)), dtype=np.float64)


def other_language(questions: Sequence[str]) -> Numbers:
    """1 where a question's language is not the pool's most frequent one. Short questions are often mistaken; the baseline's are as often."""
    from py3langid.langid import classify

    found = np.array([classify(question)[0] for question in questions])
    names, counts = np.unique(found, return_counts=True)
    return np.asarray(found != names[counts.argmax()], dtype=np.float64)


def _agreement(answers: list[str | None], nearest: npt.NDArray[np.intp], best: Vectors, known: Known) -> Numbers:
    """1 where the answer to a question whose answer is known is that answer, 0 where it is another, NaN for other questions."""
    same = [float(isinstance(answer, str) and normal(answer) == normal(known.expected[place])) for answer, place in zip(answers, nearest, strict=True)]
    return np.where(np.asarray(best) >= SAME_QUESTION, same, np.nan)


def _discriminant(vectors: Vectors) -> Matrix:
    """Kernel of Fisher's linear discriminant in the pool's principal components: its excess is the classifier's squared distance of the two means."""
    centred = vectors - vectors.mean(axis=0)
    spread, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    chosen = slice(-min(CLASSIFIER_DIMENSIONS, len(centred) - 1), None)
    whitened = (centred @ axes[:, chosen]) / np.sqrt(np.maximum(spread[chosen], 1e-12))
    return np.asarray(whitened @ whitened.T, dtype=np.float32)


def _same(values: "pd.Series[str]", rare_counts_more: bool) -> Matrix:
    """1 where two rows hold the same value (divided by its share of the pool: Pearson's chi-square), 0 elsewhere and where there is none."""
    codes, names = pd.factorize(values)
    if not rare_counts_more:
        return np.asarray((codes[:, None] == codes[None, :]) & (codes >= 0)[:, None], dtype=np.float32)
    share = np.bincount(codes[codes >= 0], minlength=len(names)) / max(1, len(codes))
    weight = np.where(codes >= 0, 1 / share[np.maximum(codes, 0)], 0.0)
    return np.asarray((codes[:, None] == codes[None, :]) * weight[:, None], dtype=np.float32)


def _numbers(values: "pd.Series[float]") -> Numbers:
    return np.asarray(pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan))


def _where(applies: "pd.Series[bool] | npt.NDArray[np.bool_]", holds: "pd.Series[bool] | npt.NDArray[np.bool_]") -> Numbers:
    """1 and 0 where it applies, NaN elsewhere."""
    return np.where(np.asarray(applies, dtype=bool), np.asarray(holds, dtype=float), np.nan)
