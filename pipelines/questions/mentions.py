"""Whether the pages that FAQ, golden set and scenarios name are among the documents."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

from pipelines.questions.consistency import Questions, join


class Mention(NamedTuple):
    """An entry of a file that names a page, the uri of a document."""

    label: str  # file and entry
    page: str


@dataclass(frozen=True)
class Documents:
    """The documents that answers can cite, as far as they are known."""

    uris: Collection[str]
    reasons: Mapping[str, str] = field(default_factory=dict)  # uri -> why it is not among them
    unknown_sources: Collection[str] = ()  # sources whose documents nobody could list


def problems(questions: Questions, documents: Documents, *, reads: bool = True) -> list[str]:
    """A line for each page that a question names and that does not exist.

    `reads`: whether the model is shown passages; otherwise nobody asks the questions of data/qa.
    """
    lines = [
        *_of_set("data/faq", "the FAQ", _of_faq(questions), documents),
        *_of_set("data/golden", "your golden set", _of_golden(questions), documents),
    ]
    if reads:
        subject = "your questions about documents"
        lines += _of_set("data/qa", subject, _of_qa(questions), documents)
    return lines


def _of_faq(questions: Questions) -> list[Mention]:
    mentions: list[Mention] = []
    for topic in questions.faq.topics:
        if topic.page is not None:
            mentions.append(Mention(questions.faq.labels[topic.topic], topic.page))
    return mentions


def _of_golden(questions: Questions) -> list[Mention]:
    mentions: list[Mention] = []
    for item in questions.golden.questions:
        if item.page is not None:
            mentions.append(Mention(questions.golden.labels[item.id], item.page))
    return mentions


def _of_qa(questions: Questions) -> list[Mention]:
    reading = questions.documents
    items = [*reading.training, *reading.golden]
    return [Mention(reading.labels[item.id], item.page) for item in items]


def _of_set(
    folder: str, subject: str, mentions: Sequence[Mention], documents: Documents
) -> list[str]:
    pages = {mention.page for mention in mentions}
    if pages and documents.uris and not _are_any_known(pages, documents):
        return [
            f"{folder}: page: no page of {subject} is among your documents: it names "
            f"{len(pages)} pages such as {min(pages)}, and there are {len(documents.uris)} "
            f"documents such as {min(documents.uris)}. It was written for another corpus: write "
            "questions about your documents (handbook: faq-authoring and golden-set), or name the "
            "sources that hold these pages (params.yaml: ingest.sources)"
        ]
    return page_problems(mentions, documents)


def _are_any_known(pages: set[str], documents: Documents) -> bool:
    """Whether a page exists, or may exist."""
    if pages & {*documents.uris, *documents.reasons}:
        return True
    return any(_source(page) in documents.unknown_sources for page in pages)


def page_problems(mentions: Sequence[Mention], documents: Documents) -> list[str]:
    """A line for each page that is not among the documents, with the entries that name it."""
    labels: dict[str, list[str]] = {}
    for mention in mentions:
        is_unknown = _source(mention.page) in documents.unknown_sources
        if mention.page not in documents.uris and not is_unknown:
            labels.setdefault(mention.page, []).append(mention.label)
    problems: dict[str, list[str]] = {}
    for page, entries in labels.items():
        problems[f"page: {page!r} {_reason(page, documents)}"] = entries
    return join(problems)


def _reason(page: str, documents: Documents) -> str:
    if page in documents.reasons:
        return documents.reasons[page]
    similar = _most_similar(page, documents.uris)
    hint = f"did you mean {similar!r}? " if similar else ""
    return (
        f"is none of the {len(documents.uris)} documents: {hint}Correct it, or add the "
        "document to a source (params.yaml: ingest.sources)"
    )


def _most_similar(page: str, uris: Collection[str]) -> str | None:
    """The uri that differs in case alone, or the nearest of the same source."""
    candidates = [uri for uri in uris if uri.casefold() == page.casefold()]
    candidates = candidates or get_close_matches(page, sorted(uris), n=1, cutoff=0.8)
    return min(candidates, default=None)


def _source(page: str) -> str:
    """A uri's first part is the name of its source."""
    return page.partition("/")[0]
