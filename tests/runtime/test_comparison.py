from pipelines.runtime import comparison


def test_answers_are_compared_without_case_articles_punctuation_and_surplus_space() -> None:
    assert comparison.normalize("  The `Gate`,   an END. ") == "gate end"


def test_an_answer_has_at_least_one_sentence() -> None:
    assert comparison.sentences("Run it. Then look! Done") == ["Run it.", "Then look!", "Done"]
    assert comparison.sentences("") == [""]
