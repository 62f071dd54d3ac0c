import itertools
import random

import pytest

from pipelines.gateway.stopping import StopFilter, first_stop


@pytest.mark.parametrize(
    ("stops", "text", "kept"),
    [
        (["."], "One. Two.", "One"),
        (["END", "E"], "The END", "The "),
        (["aab"], "aaab", "a"),
        (["xyz"], "wxy", "wxy"),
        (["\n\n"], "one\ntwo\n\nthree", "one\ntwo"),
        (["late", "early"], "early late", ""),
    ],
)
def test_nothing_after_a_stop_text_leaves_however_the_answer_is_cut_into_pieces(
    stops: list[str], text: str, kept: str
) -> None:
    positions = range(1, len(text))
    cuts = [ends for count in range(3) for ends in itertools.combinations(positions, count)]
    for ends in random.Random(7).sample(cuts, min(len(cuts), 60)):
        stop_filter = StopFilter(stops)
        pieces = [text[start:end] for start, end in itertools.pairwise([0, *ends, len(text)])]
        sent = "".join(map(stop_filter.add, pieces)) + stop_filter.end()
        assert sent == kept, pieces
    end = first_stop(text, stops)
    assert text[:end] == kept
