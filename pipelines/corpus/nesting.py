"""Documents inside documents: the chapters of a book, the attachments of an e-mail."""

from collections.abc import Iterator

from pipelines.corpus.parts import ConvertedDocument, Part


def as_parts(document: ConvertedDocument, depth: int = 0) -> Iterator[Part]:
    """A document as parts again, its headings `depth` levels lower."""
    sections = document.sections
    end_of_preface = sections[0]["start"] if sections else len(document.text)
    yield Part("text", document.text[:end_of_preface])
    for section in sections:
        _, _, body = document.text[section["start"] : section["end"]].partition("\n")
        yield Part("heading", section["heading"], section["level"] + depth)
        yield Part("text", body)
