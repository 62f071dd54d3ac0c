"""Who may read a passage: a list of groups, or `everyone`.

Whoever asks belongs to `everyone` and to the groups of their key or token. A passage that none of
these may read is left out by Weaviate itself, before anything is ranked. How rare a word is, which
BM25 goes by, Weaviate counts over all passages.
"""

import json
import re
from collections.abc import Iterable

EVERYONE = "everyone"
PROPERTY = "readers"  # of a passage in the index
GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RULE = "begins with a letter or digit and holds at most 64 letters, digits, dots, _ and -"
Groups = tuple[str, ...]  # sorted, each once, without `everyone`


def to_groups(names: Iterable[str]) -> Groups:
    """The groups of these names. Raises ValueError if one is not the name of a group."""
    groups = sorted(set(names) - {EVERYONE})
    for name in groups:
        if not GROUP.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a group, which {RULE}")
    return tuple(groups)


def memberships(groups: Groups) -> list[str]:
    """What whoever asks belongs to: a passage is theirs if its readers name one of these."""
    return [EVERYONE, *groups]


def is_public(readers: list[str]) -> bool:
    """Whether everyone may read a document or passage with these readers."""
    return EVERYONE in readers


def write(groups: Groups) -> str:
    """As `read` reads it."""
    return json.dumps(groups)


def read(text: str) -> Groups:
    """The groups of a request; an empty text is none. Raises ValueError."""
    if not text:
        return ()
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("groups must be a JSON list of names")
    return to_groups(names)
