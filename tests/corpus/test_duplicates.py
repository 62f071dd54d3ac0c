import random

import pytest
from datasketch import MinHash, MinHashLSH

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


@pytest.mark.parametrize("similarity", [0.3, 0.6, 0.9, 1.0])
def test_documents_that_are_spared_the_index_have_no_neighbour_in_it(similarity: float, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(1)
    pool = [" ".join(dice.choices(WORDS, k=30)) for _ in range(12)]
    some = [candidate(str(number), " ".join(dice.sample(pool, dice.randint(2, 4)))) for number in range(300)]
    inserted: set[str] = set()
    insert = MinHashLSH.insert

    def noted(index: MinHashLSH, key: str, made: MinHash) -> None:
        inserted.add(key)
        insert(index, key, made)

    monkeypatch.setattr(MinHashLSH, "insert", noted)
    sparing = aliases(some, similarity)
    assert len(inserted | sparing.keys()) < len(some) or similarity < 0.9
    monkeypatch.setattr("pipelines.corpus.duplicates._share_a_band", lambda numbers, bands: [True] * len(numbers))
    assert sparing == aliases(some, similarity) != {}


def test_no_documents_have_no_aliases() -> None:
    assert aliases([], 0.9) == {}
