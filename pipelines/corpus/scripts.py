"""Words of all scripts, also of those that put no blanks between them."""

import re

from pipelines.runtime.character_pairs import SCRIPTS_WITHOUT_BLANKS

CHARACTERS_A_WORD = 2  # of these scripts, about: 1.5 in Chinese, 4 in Thai
CHARACTER_WITHOUT_BLANKS = re.compile(f"[{SCRIPTS_WITHOUT_BLANKS}]")
WORD = re.compile(rf"[{SCRIPTS_WITHOUT_BLANKS}]|[^\W{SCRIPTS_WITHOUT_BLANKS}]+")


def split_words(text: str) -> list[str]:
    """Runs of letters and digits; a character of a script without blanks is one by itself."""
    return WORD.findall(text)


def count_words(text: str) -> int:
    """Words and numbers; rules and other marks are none."""
    spaced_text, num_characters = CHARACTER_WITHOUT_BLANKS.subn(" ", text)
    num_spaced_words = 0
    for word in spaced_text.split():
        num_spaced_words += any(map(str.isalnum, word))
    return num_spaced_words + (num_characters + CHARACTERS_A_WORD - 1) // CHARACTERS_A_WORD
