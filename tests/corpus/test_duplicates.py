from pipelines.corpus.duplicates import Candidate, aliases
from pipelines.corpus.reading import signature

WORDS = [f"word{number}" for number in range(400)]


def candidate(uri: str, text: str, digest: str | None = None) -> Candidate:
    return Candidate(uri, digest or text, signature(text))


def test_the_first_uri_stands_for_near_duplicates_in_whatever_order_they_come() -> None:
    text = " ".join(WORDS)
    some = [candidate("c", text), candidate("a", f"{text} end"), candidate("b", text), candidate("d", " ".join(reversed(WORDS)))]
    assert aliases(some, 0.9) == aliases(reversed(some), 0.9) == {"b": "a", "c": "a"}


def test_documents_that_share_half_of_their_text_both_stay() -> None:
    some = [candidate("a", " ".join(WORDS[:300])), candidate("b", " ".join(WORDS[100:]))]
    assert aliases(some, 0.9) == {}
    assert aliases(some, 0.3) == {"b": "a"}


def test_the_same_text_is_an_alias_at_the_highest_similarity_too() -> None:
    assert aliases([candidate("a", "one"), candidate("b", "one"), candidate("c", "two")], 1.0) == {"b": "a"}


def test_no_documents_have_no_aliases() -> None:
    assert aliases([], 0.9) == {}
