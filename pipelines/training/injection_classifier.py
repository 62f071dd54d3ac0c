"""Trains the classifier of runtime/injection.py, and measures it on kinds of attacks left out."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.config.guard import GuardConfig
from pipelines.contracts.guard import Guarding
from pipelines.questions.guard_texts import GuardTexts
from pipelines.runtime import injection
from pipelines.runtime.injection import Weights

Array = npt.NDArray[np.float32]
NUM_FOLDS = 10  # of the harmless texts
MAX_ITERATIONS = 5000


class Examples(NamedTuple):
    """Features as injection.py has them; whether each text is an attack; the fold of each.

    A fold holds the attacks of one kind, and a part of the harmless texts.
    """

    features: Array
    is_attack: npt.NDArray[np.bool_]
    folds: npt.NDArray[np.int64]


def arrange(config: GuardConfig, texts: GuardTexts, vectors: Array) -> Examples:
    """The examples of texts with their unit vectors, attacks first."""
    kinds = [item.kind for item in texts.attacks]
    numbers = {kind: number for number, kind in enumerate(sorted(set(kinds)))}
    parts = np.arange(len(texts.harmless)) % max(NUM_FOLDS, len(numbers))
    np.random.default_rng(config.seed).shuffle(parts)
    folds = np.concatenate([[numbers[kind] for kind in kinds], parts]).astype(np.int64)
    all_texts = [item.text for item in [*texts.attacks, *texts.harmless]]
    features = injection.features(all_texts, vectors)
    return Examples(features, np.arange(len(all_texts)) < len(kinds), folds)


def train(config: GuardConfig, examples: Examples) -> tuple[Weights, Array]:
    """The weights, and the score of each example by weights that were trained without its fold.

    The threshold is where these scores flag as many harmless texts as may be.
    """
    scores = np.zeros(len(examples.folds), dtype=np.float32)
    for fold in np.unique(examples.folds):
        is_left_out = examples.folds == fold
        model = _fit(config, examples, ~is_left_out)
        scores[is_left_out] = model.decision_function(examples.features[is_left_out])
    model = _fit(config, examples, np.ones(len(scores), dtype=bool))
    threshold = _threshold(scores[~examples.is_attack], config.max_false_alarms)
    columns = model.coef_[0].astype(np.float32)
    return Weights(columns, float(model.intercept_[0]), threshold), scores


def judge(texts: GuardTexts, examples: Examples, scores: Array, threshold: float) -> Guarding:
    """What is flagged of texts that the weights behind `scores` have not seen."""
    is_attack = examples.is_attack
    is_flagged = scores >= threshold
    matches = examples.features[:, -1] > 0
    by_kind: dict[str, list[bool]] = {}
    for item, flag in zip(texts.attacks, is_flagged[is_attack], strict=True):
        by_kind.setdefault(item.kind, []).append(bool(flag))
    return Guarding(
        num_attacks=int(is_attack.sum()),
        num_harmless=int((~is_attack).sum()),
        recall=_share(is_flagged[is_attack]),
        false_alarms=_share(is_flagged[~is_attack]),
        expressions_recall=_share(matches[is_attack]),
        expressions_false_alarms=_share(matches[~is_attack]),
        recall_by_kind={kind: _share(flags) for kind, flags in sorted(by_kind.items())},
    )


def _fit(config: GuardConfig, examples: Examples, is_used: npt.NDArray[np.bool_]) -> Any:
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=config.inverse_regularization, class_weight="balanced", max_iter=MAX_ITERATIONS
    )
    return model.fit(csr_matrix(examples.features[is_used]), examples.is_attack[is_used])


def _threshold(harmless_scores: Array, max_false_alarms: float) -> float:
    """The lowest score that flags no more than this share of the harmless texts."""
    num_alarms = int(max_false_alarms * len(harmless_scores))
    highest_first = np.sort(harmless_scores)[::-1]
    return float(np.nextafter(highest_first[num_alarms], np.float32(np.inf)))


def _share(flags: Any) -> float:
    return round(float(np.mean(flags)), 4)
