import random

import pytest
from datasketch import MinHash, MinHashLSH

from pipelines.corpus.duplicates import Candidate, find_aliases
from pipelines.corpus.reading import compute_signature

WORDS = [f"word{number}" for number in range(400)]


def candidate(uri: str, text: str) -> Candidate:
    return Candidate(uri, text, compute_signature(text))


def test_the_first_uri_stands_for_near_duplicates_in_whatever_order_they_come() -> None:
    text = " ".join(WORDS)
    candidates = [
        candidate("c", text),
        candidate("a", f"{text} end"),
        candidate("b", text),
        candidate("d", " ".join(reversed(WORDS))),
    ]
    assert find_aliases(candidates, 0.9) == {"b": "a", "c": "a"}
    assert find_aliases(reversed(candidates), 0.9) == {"b": "a", "c": "a"}


def test_documents_that_share_half_of_their_text_both_stay() -> None:
    candidates = [candidate("a", " ".join(WORDS[:300])), candidate("b", " ".join(WORDS[100:]))]
    assert find_aliases(candidates, 0.9) == {}
    assert find_aliases(candidates, 0.3) == {"b": "a"}


def test_the_same_text_is_an_alias_at_the_highest_similarity_too() -> None:
    candidates = [candidate("a", "one"), candidate("b", "one"), candidate("c", "two")]
    assert find_aliases(candidates, 1.0) == {"b": "a"}


@pytest.mark.parametrize("similarity", [0.3, 0.6, 0.9, 1.0])
def test_documents_that_are_not_put_into_the_index_have_no_neighbour_in_it(
    similarity: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(1)
    sentences = [" ".join(dice.choices(WORDS, k=30)) for _ in range(12)]
    candidates = []
    for number in range(300):
        text = " ".join(dice.sample(sentences, dice.randint(2, 4)))
        candidates.append(candidate(str(number), text))
    inserted_uris: set[str] = set()
    insert = MinHashLSH.insert

    def insert_and_note(index: MinHashLSH, uri: str, signature: MinHash) -> None:
        inserted_uris.add(uri)
        insert(index, uri, signature)

    monkeypatch.setattr(MinHashLSH, "insert", insert_and_note)
    aliases = find_aliases(candidates, similarity)
    compared_uris = inserted_uris | aliases.keys()
    assert len(compared_uris) < len(candidates) or similarity < 0.9

    monkeypatch.setattr(
        "pipelines.corpus.duplicates._share_a_band", lambda numbers, bands: [True] * len(numbers)
    )
    aliases_of_all = find_aliases(candidates, similarity)
    assert aliases == aliases_of_all != {}


def test_no_documents_have_no_aliases() -> None:
    assert find_aliases([], 0.9) == {}
