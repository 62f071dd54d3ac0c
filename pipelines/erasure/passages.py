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

    object_ids = vectorstore.find_passages(is_meant)
    if object_ids:
        count = sum(map(len, object_ids.values()))
        location = f"Weaviate, {len(object_ids)} collections"
        yield Finding(location, count, "passages", partial(vectorstore.remove_passages, object_ids))
