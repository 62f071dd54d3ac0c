import pytest

from pipelines.runtime import comparison


def test_answers_are_compared_without_case_articles_punctuation_and_surplus_space() -> None:
    assert comparison.normalize("  The `Gate`,   an END. ") == "gate end"


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("It doesn\u2019t stop", "It doesn't stop"),
        ("\u201cgate\u201d \u2013 \u00abend\u00bb", '"gate" - "end"'),
        ("2016\u20132019", "2016-2019"),
        ("caf\u00e9", "cafe\u0301"),
        ("re\u00adcord", "record"),
        ("run\u00a0it\u2026", "run it..."),
        ("\u7b54\u6848\u3002", "\u7b54\u6848"),
    ],
)
def test_the_same_answer_in_other_characters_is_the_same(answer: str, same: str) -> None:
    assert comparison.normalize(answer) == comparison.normalize(same)


def test_different_letters_and_currencies_stay_different() -> None:
    assert comparison.normalize("cafe") != comparison.normalize("caf\u00e9")
    assert comparison.normalize("5 \u20ac") != comparison.normalize("5 \u00a3")


def test_an_answer_has_at_least_one_sentence() -> None:
    assert comparison.sentences("Run it. Then look! Done") == ["Run it.", "Then look!", "Done"]
    assert comparison.sentences("") == [""]
