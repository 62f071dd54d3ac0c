"""What readers left out of documents: totals by kind, and the documents that lost most."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

# Kinds that no person sees as text, so that their sizes say nothing about what one misses.
NOT_TEXT = frozenset(
    [
        "attachments",
        "comments in the source",
        "components' code",
        "embedded documents",
        "pictures",
        "scripts and styles",
        "targets of links inside the site",
        "widgets and scripts",
    ]
)


# Share of the documents that must keep validate.max_left_out_share.
DOCUMENTS_WITHIN_LIMIT = 0.9


@dataclass
class Loss:
    """What one document lost."""

    uri: str
    source: str
    num_kept: int
    by_kind: dict[str, int] = field(default_factory=dict)  # characters, the most first

    @property
    def num_characters(self) -> int:
        """Characters of text that were left out."""
        return sum(count for kind, count in self.by_kind.items() if kind not in NOT_TEXT)

    @property
    def share(self) -> float:
        """Of the document's text, 0..1."""
        return self.num_characters / max(1, self.num_kept + self.num_characters)


def by_document(rows: Iterable[dict[str, Any]]) -> list[Loss]:
    """Rows of left_out.parquet as one loss a document, the largest share first."""
    losses: dict[str, Loss] = {}
    for row in rows:
        uri = row["uri"]
        loss = losses.setdefault(uri, Loss(uri, row["source"], row["num_kept"]))
        loss.by_kind[row["kind"]] = row["num_left_out"]
    for loss in losses.values():
        loss.by_kind = dict(Counter(loss.by_kind).most_common())
    return sorted(losses.values(), key=lambda loss: (-loss.share, -loss.num_characters, loss.uri))


def by_kind(losses: Iterable[Loss]) -> list[tuple[str, int, int]]:
    """(kind, documents, characters) over all documents, the most characters first."""
    num_documents: Counter[str] = Counter()
    num_characters: Counter[str] = Counter()
    for loss in losses:
        num_documents.update(loss.by_kind.keys())
        num_characters.update(loss.by_kind)
    return [(kind, num_documents[kind], count) for kind, count in num_characters.most_common()]
