"""Makes one question of a conversation: retrieval and the language model see a single one.

A follow-up such as "and on Windows?" means nothing without what was asked before. One that depends
on earlier questions, by its words, is put behind them; every other question stands for itself.
Putting the turns together is the usual baseline of conversational search (Dalton et al., TREC CAsT
2019); no language model is asked, so that nothing is invented. The words are English.
"""

import re

MAX_QUESTIONS = 3  # that are put together
FEW_WORDS = 3  # a question of so few leans on what was asked before
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
# A question that begins so continues the one before it.
OPENING = re.compile(
    r"\s*(and|or|but|so|then|also|instead|otherwise|what about|how about|what if|why not|why so)\b",
    re.IGNORECASE,
)
# These stand for something that was named before.
REFERENCES = {
    *("it", "its", "it's", "they", "them", "their", "those", "these", "this", "that", "that's"),
    *("he", "him", "his", "she", "her", "there", "former", "latter", "same", "both", "either"),
}


def condense(questions: list[str], max_characters: int) -> str:
    """The last question, behind those that it depends on; the oldest are dropped to fit."""
    *earlier, last = questions
    parts = [last]
    while earlier and len(parts) < MAX_QUESTIONS and depends(parts[0]):
        parts.insert(0, earlier.pop())
    while len(parts) > 1 and len(" ".join(parts)) > max_characters:
        parts.pop(0)
    return " ".join(part.strip() for part in parts) if len(parts) > 1 else last


def depends(question: str) -> bool:
    """Whether a question is understood only with what was asked before it."""
    words = [word.lower() for word in WORD.findall(question)]
    if len(words) <= FEW_WORDS or OPENING.match(question):
        return True
    return bool(REFERENCES.intersection(words))
