from typing import Any, cast

import numpy as np
import pytest

from pipelines.config.answer import AnswerConfig
from pipelines.decision import calibrating
from pipelines.decision.calibrating import Trial
from pipelines.runtime.generation import Answer
from pipelines.runtime.withholding import Limits
from pipelines.vectorstore import Encoder

CONFIG = AnswerConfig(min_support=0.75, max_false_refusals=0.1)


def trial(is_right: bool, log_probability: float, support: float = 1.0) -> Trial:
    return Trial(is_right, log_probability, support, similarity=0.5)


def test_at_most_the_allowed_share_of_the_right_answers_is_withheld() -> None:
    right = [trial(True, -number / 100) for number in range(1, 21)]
    wrong = [trial(False, -0.5), trial(False, -0.01)]
    calibration = calibrating.calibrate(CONFIG, "Not there.", [*right, *wrong], num_refused=3)
    limit = calibration.min_log_probability
    assert limit is not None
    assert sum(item.log_probability < limit for item in right) == 1  # a tenth of 20 would be 2
    assert (calibration.num_right, calibration.num_wrong, calibration.num_refused) == (20, 2, 3)
    assert calibrating.limits_of(calibration) == Limits("Not there.", 0.75, limit)


def test_the_answer_at_the_limit_itself_is_given() -> None:
    exact = -1 / 3
    calibration = calibrating.calibrate(CONFIG, "Not there.", [trial(True, exact)], 0)
    limit = calibration.min_log_probability
    assert limit is not None
    assert limit <= exact


def test_without_a_right_answer_support_alone_decides() -> None:
    calibration = calibrating.calibrate(CONFIG, "Not there.", [trial(False, -0.1)], 0)
    assert calibrating.limits_of(calibration) == Limits("Not there.", 0.75, None)
    assert calibration.signals == dict.fromkeys(("log_probability", "support", "similarity"))


def test_a_template_without_passages_withholds_nothing() -> None:
    assert calibrating.limits_of(calibrating.without_passages()) is None


def test_a_signal_is_measured_by_the_area_under_its_roc_curve() -> None:
    trials = [trial(True, -0.1, 1.0), trial(True, -0.4, 0.5), trial(False, -0.3, 0.5)]
    signals = calibrating.calibrate(CONFIG, "Not there.", trials, 0).signals
    assert signals == {"log_probability": 0.5, "support": 0.75, "similarity": 0.5}


class WordEncoder:
    """A vector of which dimensions stand for words; each is as long as the text has words."""

    def lookup(self, texts: list[str]) -> dict[str, Any]:
        words = ("gate", "verdict")
        vectors: dict[str, Any] = {}
        for text in texts:
            vectors[text] = np.array([float(word in text) for word in words])
        return vectors


def test_trials_are_the_answers_that_are_no_refusals() -> None:
    rows = [
        {"kind": "document", "completion": "the verdict", "passages": ["The gate. The verdict."]},
        {"kind": "faq", "completion": " the gate", "passages": []},
        {"kind": "unanswerable", "completion": "Not there.", "passages": ["The gate."]},
        {"kind": "document", "completion": "the verdict", "passages": ["The verdict."]},
    ]
    texts = ["verdict", "a zebra", "gate", "Not there!"]
    answers = [Answer(text, 9, 4, -0.25) for text in texts]
    trials = calibrating.try_answers(rows, answers, {"not there"}, cast(Encoder, WordEncoder()))
    assert trials == [
        Trial(True, -0.25, 1.0, 1.0),
        Trial(False, -0.25, 0.0, 0.0),
        Trial(False, -0.25, 1.0, 1.0),  # a right-looking answer to what nothing answers
    ]


@pytest.mark.parametrize(("answer", "is_right"), [("one two three", True), ("one", False)])
def test_an_answer_is_right_if_half_of_its_words_are(answer: str, is_right: bool) -> None:
    rows = [{"kind": "document", "completion": "one two three four", "passages": []}]
    answers = [Answer(answer, 9, 4, -0.25)]
    (result,) = calibrating.try_answers(rows, answers, set(), cast(Encoder, WordEncoder()))
    assert result.is_right == is_right
