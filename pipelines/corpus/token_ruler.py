"""Counts an encoder's tokens in any span of a text, and finds where words may be cut apart."""

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.corpus.markdown_blocks import Span

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Signs that belong to what stands before them: no piece of a text begins with one.
CLOSING = frozenset(
    ".,;:!?…)]}%»”’、。，．：；！？｡）」』】》〉〕｝ー々ゝぁぃぅぇぉっゃゅょァィゥェォッャュョ؟،؛।"
)


@dataclass(frozen=True)
class Ruler:
    """A text that is tokenized once.

    `token_starts` is where each token begins (one character may give several), `word_starts` where
    each word does.
    """

    text: str
    token_starts: list[int]
    word_starts: list[int]

    @classmethod
    def of(cls, text: str, tokenizer: "Tokenizer") -> "Ruler":
        encoding = tokenizer.encode(text, add_special_tokens=False)
        token_starts = [start for start, _ in encoding.offsets]
        words = encoding.word_ids  # each access makes the list anew
        word_starts = []
        for number, start in enumerate(token_starts):
            if number == 0 or words[number] != words[number - 1]:
                word_starts.append(start)
        return cls(text, token_starts, word_starts)

    def count_tokens(self, span: Span) -> int:
        """The number of tokens that begin inside the span."""
        first = bisect.bisect_left(self.token_starts, span.start)
        return bisect.bisect_left(self.token_starts, span.end) - first

    def last_cut(self, start: int, max_tokens: int, max_characters: int) -> int:
        """The last character at which a piece that starts at `start` may end.

        It is between words, or between the tokens of a word that is too long.
        """
        first_token = bisect.bisect_left(self.token_starts, start)
        limit = start + max_characters
        if first_token + max_tokens < len(self.token_starts):
            limit = min(limit, self.token_starts[first_token + max_tokens])
        word = self._word_before(limit)
        has_token = first_token < len(self.token_starts)
        if word > start and not (has_token and word <= self.token_starts[first_token]):
            return word
        return max(limit, start + 1)

    def _word_before(self, limit: int) -> int:
        """Where the last word begins that starts at `limit` or before and may be cut off."""
        last = bisect.bisect_right(self.word_starts, limit) - 1
        number = last
        while number > 0 and self._is_closing(number):
            number -= 1
        return self.word_starts[number]

    def start_of_last_words(self, end: int, max_tokens: int) -> int | None:
        """Where the words before `end` begin that have at most `max_tokens`; None without any."""
        num_tokens = bisect.bisect_left(self.token_starts, end)
        last_token_without_room = self.token_starts[num_tokens - max_tokens - 1]
        number = bisect.bisect_right(self.word_starts, last_token_without_room)
        while number < len(self.word_starts) and self._is_closing(number):
            number += 1
        if number == len(self.word_starts) or self.word_starts[number] >= end:
            return None
        return self.word_starts[number]

    def _is_closing(self, number: int) -> bool:
        return self.text[self.word_starts[number]] in CLOSING
