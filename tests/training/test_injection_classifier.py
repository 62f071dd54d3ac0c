import numpy as np

from pipelines.config.guard import GuardConfig
from pipelines.questions.guard_texts import GuardText, GuardTexts
from pipelines.runtime import injection
from pipelines.training import injection_classifier

CONFIG = GuardConfig(max_false_alarms=0.1, inverse_regularization=10.0, seed=7)
TEXTS = GuardTexts(
    attacks=[GuardText(text=f"text {number}", kind="abc"[number % 3]) for number in range(30)],
    harmless=[GuardText(text=f"text {number + 30}", kind="plain") for number in range(40)],
)


def make_vectors() -> injection_classifier.Array:
    """Attacks point along the first axis, questions along the second, with some noise.

    Attacks of kind c are as near to the second axis, and alone in having a part along the third.
    """
    noise = np.random.default_rng(7).normal(scale=0.05, size=(70, 3))
    points = [(0, 1, 0.7) if item.kind == "c" else (1, 0, 0) for item in TEXTS.attacks]
    vectors = np.array(points + [(0, 1, 0)] * 40) + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, dtype=np.float32)


def test_a_kind_of_attack_is_judged_by_weights_that_were_trained_without_it() -> None:
    vectors = make_vectors()
    examples = injection_classifier.arrange(CONFIG, TEXTS, vectors)
    weights, scores = injection_classifier.train(CONFIG, examples)
    report = injection_classifier.judge(TEXTS, examples, scores, weights.threshold)
    assert report.recall_by_kind["a"] == report.recall_by_kind["b"] == 1.0
    assert report.recall_by_kind["c"] < 1.0, "nothing else told them from questions"
    assert report.false_alarms <= CONFIG.max_false_alarms
    texts = [item.text for item in TEXTS.attacks]
    assert (injection.scores(weights, texts, vectors[:30]) >= weights.threshold).all()


def test_the_threshold_flags_no_more_harmless_texts_than_may_be() -> None:
    vectors = make_vectors()
    examples = injection_classifier.arrange(CONFIG, TEXTS, vectors)
    for max_false_alarms in (0.01, 0.3):
        config = CONFIG.model_copy(update={"max_false_alarms": max_false_alarms})
        weights, scores = injection_classifier.train(config, examples)
        report = injection_classifier.judge(TEXTS, examples, scores, weights.threshold)
        assert max_false_alarms - 1 / 40 <= report.false_alarms <= max_false_alarms
