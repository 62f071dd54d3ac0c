"""Passages in Weaviate: of the live knowledge, and of the collections that are kept beside it."""

from collections.abc import Iterator
from functools import partial

from pipelines import vectorstore
from pipelines.erasure.finding import Finding
from pipelines.erasure.subject import Subject


def find(subject: Subject) -> Iterator[Finding]:
    """Passages of the document, or that name the person. Raises Unreachable."""
    if subject.kind == "tenant":  # documents have readers, no tenants
        return

    def is_meant(properties: dict[str, object]) -> bool:
        if subject.kind == "document":
            return properties["uri"] == subject.name
        return subject.is_in(properties)

    passages = vectorstore.find_passages(is_meant)
    if passages:
        count = sum(len(entry.ids) for entry in passages)
        contents = tuple(entry.digest for entry in passages if entry.digest)
        location = f"Weaviate, {len(passages)} collections"
        remove = partial(vectorstore.remove_passages, passages)
        yield Finding(location, count, "passages", remove, contents=contents)
