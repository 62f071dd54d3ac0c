"""Signals: what a row of traffic shows about input, retrieval, output, quality and operations.

A column signal is a number for each row; a kernel signal is a similarity of every two rows.
`new_topic` is the strongest on questions: it looks for questions that are far from everything known
*and* near to one another. On clinc150 (20 of 100 questions of a domain that training never saw) it
alone finds 97 to 100 % where the plain distances below find 25 to 75 %
(tests/bench/test_drift_detection.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.contracts.drift import Group
from pipelines.monitoring.calibration import Column, Kernel, Matrix, Numbers
from pipelines.questions.wording import normal
from pipelines.vectorstore import Vectors

BANDWIDTH = 0.3  # of 1 - cosine; 0.2 to 0.5 found as much on clinc150, 0.05 and 1.0 less
SAME_QUESTION = 0.9  # cosine from which a live question counts as one whose answer is known
# Principal components that the domain classifier sees; more would need more than 100 rows.
CLASSIFIER_DIMENSIONS = 20

MORE, BOTH, LESS = 1, 0, -1  # which change of a column is drift


class Kind(NamedTuple):
    """A signal's group, and what it means in words."""

    group: Group
    meaning: str


KINDS: dict[str, Kind] = {
    "new_topic": Kind(
        "input", "questions that are far from all known ones and near to one another"
    ),
    "unfamiliar_questions": Kind("input", "questions far from all known ones"),
    "question_embedding": Kind("input", "the spread of question vectors"),
    "domain_classifier": Kind(
        "input", "what a linear classifier tells window and baseline apart by"
    ),
    "question_length": Kind("input", "the length of questions"),
    "other_language": Kind("input", "questions in another language than most known ones"),
    "out_of_scope": Kind("input", "questions nearest to known out-of-scope ones"),
    "best_score": Kind("retrieval", "the best passage's score"),
    "score_gap": Kind("retrieval", "the gap between best and second passage"),
    "empty_results": Kind("retrieval", "searches that found nothing"),
    "answering_pages": Kind("retrieval", "which pages answer"),
    "answer_length": Kind("output", "the length of answers"),
    "refusals": Kind("output", "refused answers"),
    "groundedness": Kind("output", "how far passages support the answers"),
    "repeated_answers": Kind("output", "one answer for many questions"),
    "guard_flags": Kind("output", "requests that the guard flagged"),
    "thumbs_down": Kind("quality", "thumbs down among thumbs"),
    "corrections": Kind("quality", "requests that users corrected"),
    "agreement": Kind("quality", "answers that agree with reviewed ones to the same question"),
    "latency": Kind("operations", "the time an answer takes"),
    "new_tokens": Kind("operations", "tokens written"),
    "prompt_tokens": Kind("operations", "tokens read"),
    "cost": Kind("operations", "the cost of a request"),
    "failures": Kind("operations", "failed requests"),
}
# Signals that are logarithms, and what makes a mean of them readable.
LOGARITHMS = {"latency": np.exp, "question_length": np.expm1, "answer_length": np.expm1}


@dataclass(frozen=True)
class KnownQuestions:
    """The questions that the release was made with: training and golden set.

    `refusal`: whether the answer is a refusal; `golden`: whether the question is of the golden set.
    """

    questions: list[str]
    answers: list[str]
    refusal: npt.NDArray[np.bool_]
    golden: npt.NDArray[np.bool_]
    vectors: Vectors  # shape (questions, dimensions)

    def training(self) -> "KnownQuestions":
        """Without the golden questions: what they themselves are compared with."""
        rows = np.flatnonzero(~self.golden)
        return KnownQuestions(
            _take(self.questions, rows),
            _take(self.answers, rows),
            self.refusal[rows],
            self.golden[rows],
            self.vectors[rows],
        )


def _take(texts: Sequence[str], rows: npt.NDArray[np.intp]) -> list[str]:
    return [texts[row] for row in rows]


def columns(rows: pd.DataFrame, vectors: Vectors, known_questions: KnownQuestions) -> list[Column]:
    """The column signals of pooled rows (contracts.window), with their unit question vectors."""
    similarity = vectors @ known_questions.vectors.T
    nearest = similarity.argmax(axis=1)
    best = similarity.max(axis=1)
    agreement = _agreement(rows["answer"].tolist(), nearest, best, known_questions)
    return [
        Column("unfamiliar_questions", unfamiliarity(best), MORE),
        Column("question_length", _log_length(rows["question"]), BOTH),
        Column("other_language", other_language(rows["question"].tolist()), MORE),
        Column("out_of_scope", known_questions.refusal[nearest].astype(float), MORE),
        *_retrieval_columns(rows),
        *_output_columns(rows),
        *_quality_columns(rows, agreement),
        *_operations_columns(rows),
    ]


def _retrieval_columns(rows: pd.DataFrame) -> list[Column]:
    is_search = _is_answered(rows) & rows["num_retrieved"].notna().to_numpy()
    is_empty = _numbers(rows["num_retrieved"]) == 0
    return [
        Column("best_score", _numbers(rows["best_score"]), BOTH),
        Column("score_gap", _numbers(rows["score_gap"]), BOTH),
        Column("empty_results", _where(is_search, is_empty), MORE),
    ]


def _output_columns(rows: pd.DataFrame) -> list[Column]:
    can_refuse = _is_answered(rows) & rows["refused"].notna().to_numpy()
    is_refusal = _numbers(rows["refused"]) > 0
    is_checked = rows["num_guard_flags"].notna().to_numpy()
    is_flagged = _numbers(rows["num_guard_flags"]) > 0
    return [
        Column("answer_length", _log_length(rows["answer"]), BOTH),
        Column("refusals", _where(can_refuse, is_refusal), BOTH),
        Column("groundedness", _numbers(rows["groundedness"]), BOTH),
        Column("guard_flags", _where(is_checked, is_flagged), MORE),
    ]


def _quality_columns(rows: pd.DataFrame, agreement: Numbers) -> list[Column]:
    has_thumb = rows["thumb"].notna().to_numpy()
    is_down = _numbers(rows["thumb"]) < 0
    is_corrected = rows["correction"].notna().to_numpy()
    return [
        Column("thumbs_down", _where(has_thumb, is_down), MORE),
        Column("corrections", _where(_is_live(rows), is_corrected), MORE),
        Column("agreement", agreement, LESS),
    ]


def _operations_columns(rows: pd.DataFrame) -> list[Column]:
    is_answered = _is_answered(rows)
    is_failed = (rows["status"] == "failed").to_numpy()
    new_tokens = np.where(is_answered, _numbers(rows["num_new_tokens"]), np.nan)
    prompt_tokens = np.where(is_answered, _numbers(rows["num_prompt_tokens"]), np.nan)
    return [
        Column("latency", np.log(np.maximum(_numbers(rows["total_ms"]), 0.01)), MORE),
        Column("new_tokens", new_tokens, BOTH),
        Column("prompt_tokens", prompt_tokens, BOTH),
        Column("cost", _numbers(rows["cost"]), MORE),
        Column("failures", _where(_is_live(rows), is_failed), MORE),
    ]


def kernels(rows: pd.DataFrame, vectors: Vectors, known_questions: KnownQuestions) -> list[Kernel]:
    """The kernel signals of pooled rows."""
    cosine = vectors @ vectors.T
    best = (vectors @ known_questions.vectors.T).max(axis=1)
    weight = unfamiliarity(best).astype(np.float32)
    nearness = np.exp((cosine - 1) / np.float32(BANDWIDTH))
    signals = [
        Kernel("new_topic", nearness * np.outer(weight, weight), True),
        Kernel("question_embedding", nearness, True),
        Kernel("domain_classifier", _discriminant(vectors), True),
    ]
    pages = rows["top_page"]
    if pages.nunique() > 1:
        signals.append(Kernel("answering_pages", _equality(pages, rare_counts_more=True), True))
    answers = rows["answer"].map(_normal_text)
    if answers.nunique() > 1:
        equality = _equality(answers, rare_counts_more=False)
        signals.append(Kernel("repeated_answers", equality, False))
    return signals


def unfamiliarity(best: Numbers | Vectors) -> Numbers:
    """How far each row is from everything known, against the other pooled rows.

    -log of the share of rows that are at least as far: 0 for the most familiar row, log(2 rows) for
    the least familiar. `best`: the cosine with the nearest known question.
    """
    from scipy.stats import rankdata

    # Equal rows share their rank: a tie must not favour the row that stands first.
    rank = rankdata(-np.asarray(best, dtype=float))
    return np.asarray(-np.log(1 - (rank - 0.5) / len(rank)), dtype=np.float64)


def other_language(questions: Sequence[str]) -> Numbers:
    """1 if a question's language is not the pool's most frequent one.

    Short questions are often misjudged; the baseline's are as often.
    """
    from py3langid.langid import classify

    languages = np.array([classify(question)[0] for question in questions])
    names, counts = np.unique(languages, return_counts=True)
    usual_language = names[counts.argmax()]
    return np.asarray(languages != usual_language, dtype=np.float64)


def _agreement(
    answers: list[str | None],
    nearest: npt.NDArray[np.intp],
    best: Vectors,
    known_questions: KnownQuestions,
) -> Numbers:
    """Whether the answer to a known question is the known answer; NaN for other questions."""
    agrees: list[float] = []
    for answer, row in zip(answers, nearest, strict=True):
        agrees.append(float(_is_same(answer, known_questions.answers[row])))
    is_known = np.asarray(best) >= SAME_QUESTION
    return np.where(is_known, agrees, np.nan)


def _is_same(answer: object, known_answer: str) -> bool:
    return isinstance(answer, str) and normal(answer) == normal(known_answer)


def _discriminant(vectors: Vectors) -> Matrix:
    """Kernel of Fisher's linear discriminant in the pool's principal components.

    Its excess is the classifier's squared distance of the two means.
    """
    offsets = vectors - vectors.mean(axis=0)
    covariance = offsets.T @ offsets / len(offsets)
    variances, axes = np.linalg.eigh(covariance)
    largest = slice(-min(CLASSIFIER_DIMENSIONS, len(offsets) - 1), None)
    deviations = np.sqrt(np.maximum(variances[largest], 1e-12))
    components = (offsets @ axes[:, largest]) / deviations
    return np.asarray(components @ components.T, dtype=np.float32)


def _equality(values: "pd.Series[str]", rare_counts_more: bool) -> Matrix:
    """1 if two rows hold the same value, 0 otherwise and if there is none.

    `rare_counts_more` divides by the value's share of the pool (Pearson's chi-square).
    """
    codes, names = pd.factorize(values)
    is_equal = codes[:, None] == codes[None, :]
    has_value = codes >= 0
    if not rare_counts_more:
        return np.asarray(is_equal & has_value[:, None], dtype=np.float32)
    counts = np.bincount(codes[has_value], minlength=len(names))
    shares = counts / max(1, len(codes))
    share_of_row = shares[np.maximum(codes, 0)]
    weight = np.where(has_value, 1 / share_of_row, 0.0)
    return np.asarray(is_equal * weight[:, None], dtype=np.float32)


def _is_answered(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    return np.asarray(rows["status"] == "ok", dtype=bool)


def _is_live(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """False for rows made of golden questions: they have no feedback, times or costs."""
    return np.asarray(rows["time"].notna(), dtype=bool)


def _numbers(values: "pd.Series[float]") -> Numbers:
    numbers = pd.to_numeric(values, errors="coerce")
    return np.asarray(numbers.to_numpy(dtype=float, na_value=np.nan))


def _log_length(texts: "pd.Series[str]") -> Numbers:
    length = texts.str.len().to_numpy(dtype=float)
    return np.asarray(np.log1p(length))


def _normal_text(text: object) -> str | None:
    return normal(text) if isinstance(text, str) else None


def _where(applies: npt.NDArray[np.bool_], holds: npt.NDArray[np.bool_]) -> Numbers:
    """1 and 0 for the rows that it applies to, NaN for the others."""
    return np.where(applies, np.asarray(holds, dtype=float), np.nan)
