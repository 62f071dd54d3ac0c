"""Words for BM25 in scripts that put no blanks between them: pairs of neighbouring characters.

Weaviate cuts words at blanks and marks, so a Chinese or Thai sentence would be one word that no
question repeats. Overlapping pairs need no dictionary (the usual index for Chinese, Japanese and
Korean of Lucene). Each passage has them in a property of its own, and a question is searched with
its pairs beside its words; texts of other scripts have none, and are ranked as without them.
"""

import re
import unicodedata

# Thai, Lao, Tibetan, Burmese, Khmer, kana, Han.
SCRIPTS_WITHOUT_BLANKS = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
PROPERTY = "pairs"  # of a passage in the index
RUN = re.compile(f"[{SCRIPTS_WITHOUT_BLANKS}]+")


def pairs_of(text: str) -> list[str]:
    """The pairs of each run of such characters, in order; of a run of one the character itself.

    Half-width and full-width forms of a character are the same.
    """
    pairs: list[str] = []
    for run in RUN.findall(unicodedata.normalize("NFKC", text)):
        last = max(1, len(run) - 1)
        pairs += [run[start : start + 2] for start in range(last)]
    return pairs


def with_pairs(question: str) -> str:
    """A question's words as they are searched."""
    return " ".join([question, *pairs_of(question)])
