"""Whether FAQ, golden set and prompts fit together and keep the limits of params.yaml.

Every function gives a list of problems, each with file and line or topic, key, value and remedy;
nothing here raises. `check` prints them all; the stage that they would harm stops with the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pipelines.config.examples import ExamplesConfig
from pipelines.errors import UserError
from pipelines.questions import document_questions, faq, golden, prompts, wording
from pipelines.questions.faq import Topic
from pipelines.questions.golden import Golden
from pipelines.questions.prompts import Prompt

MIN_QUESTION_CHARACTERS = 2
MAX_LINES = 12  # of one kind of problem; the others are counted


@dataclass(frozen=True)
class Questions:
    """The FAQ, the golden set and questions about documents, as far as they can be read."""

    faq: faq.Reading
    golden: golden.Reading
    documents: document_questions.Reading

    @property
    def problems(self) -> list[str]:
        """What cannot be read."""
        problems = [*self.faq.problems, *self.golden.problems, *self.documents.problems]
        if not self.faq.topics and not self.faq.problems:
            problems.append(
                "data/faq: its files hold no topic, so there is nothing to train: write some "
                "(handbook: faq-authoring)"
            )
        return problems

    def golden_texts(self) -> list[str]:
        """Every golden question."""
        golden_questions = [item.question for item in self.golden.questions]
        return golden_questions + [item.question for item in self.documents.golden]

    def training_texts(self) -> list[str]:
        """Every training question."""
        texts = [item.question for item in self.documents.training]
        for topic in self.faq.topics:
            texts += topic.questions
        return texts

    def exam(self, refusal: str) -> list[Golden]:
        """Every golden question; `refusal`: what an unanswerable one is to be answered with."""
        about_documents = golden.about_documents(self.documents, refusal)
        return [*self.golden.questions, *about_documents]

    def unseen_pages(self) -> set[str]:
        """Documents of golden questions that training has no question about."""
        golden_pages = {question.page for question in self.documents.golden}
        return golden_pages - self.documents.training_pages - self.faq_pages()

    def faq_pages(self) -> set[str]:
        return {topic.page for topic in self.faq.topics if topic.page is not None}

    def by_topic(self) -> dict[str, Topic]:
        return {topic.topic: topic for topic in self.faq.topics}


def read(faq_folder: Path, golden_folder: Path, qa_folder: Path) -> Questions:
    """All three folders; `problems` of the result says what cannot be read."""
    documents = document_questions.read(qa_folder)
    return Questions(faq.read(faq_folder), golden.read(golden_folder), documents)


def shorten(problems: Sequence[str]) -> list[str]:
    """At most MAX_LINES of the same kind of problem, then how many more there are."""
    lines = list(problems[:MAX_LINES])
    if len(problems) > MAX_LINES:
        lines.append(f"... and {len(problems) - MAX_LINES} more of this kind")
    return lines


def golden_problems(questions: Questions) -> list[str]:
    """Golden questions that do not agree with their topic in the FAQ, or occur twice."""
    topics = questions.by_topic()
    unknown: dict[str, list[str]] = {}
    different: dict[str, list[str]] = {}
    for item in questions.golden.questions:
        label = questions.golden.labels[item.id]
        if item.topic in topics:
            for problem in _disagreements(item, topics[item.topic]):
                different.setdefault(problem, []).append(label)
        elif questions.faq.is_whole and item.topic not in questions.faq.labels:
            unknown.setdefault(_unknown_topic(item, list(topics)), []).append(label)
    return [*join(unknown), *join(different), *shorten(list(_repetitions(questions)))]


def join(problems: Mapping[str, Sequence[str]]) -> list[str]:
    """Problem -> labels of the entries that have it, as a line each."""
    lines: list[str] = []
    for problem, labels in problems.items():
        more = f" (and {len(labels) - 1} more)" if len(labels) > 1 else ""
        lines.append(f"{labels[0]}{more}: {problem}")
    return shorten(lines)


def _unknown_topic(item: Golden, names: list[str]) -> str:
    similar = get_close_matches(item.topic, names, n=1)
    hint = f"did you mean {similar[0]!r}? " if similar else ""
    return (
        f"topic: {item.topic!r} is not in the FAQ: {hint}"
        "Name a topic of data/faq, write it there, or remove the question"
    )


def _disagreements(item: Golden, topic: Topic) -> Iterator[str]:
    if item.expected != topic.answer:
        yield (
            f"expected: {_short(item.expected)} is not the answer of its topic "
            f"{topic.topic} ({_short(topic.answer)}), so no right answer could match it: "
            "copy the topic's answer word for word"
        )
    if item.kind == "faq" and topic.refusal:
        yield (
            f"kind: faq, but its topic {topic.topic} is a refusal: "
            "use out_of_scope or hostile with `page: null`, or name another topic"
        )
    if item.kind != "faq" and not topic.refusal:
        yield (
            f"kind: {item.kind}, but its topic {topic.topic} is no refusal: "
            "use faq and name the page, or name a topic with `refusal: true`"
        )
    if item.page is not None and topic.page is not None and item.page != topic.page:
        yield (
            f"page: {item.page!r} is not the page of its topic {topic.topic} "
            f"({topic.page!r}): make both the document in which the answer stands"
        )


def _repetitions(questions: Questions) -> Iterator[str]:
    labels: dict[str, str] = {}
    for item in questions.golden.questions:
        label = questions.golden.labels[item.id]
        words = wording.normal(item.question) or item.question
        if words in labels:
            yield (
                f"{label}: question: {_short(item.question)} is also in {labels[words]}, "
                "and would count twice: remove either"
            )
        labels.setdefault(words, label)


def training_problems(questions: Questions, config: ExamplesConfig) -> list[str]:
    """FAQ questions that `examples` would report: too few, too long, repeated, or golden ones."""
    return [
        *shorten(list(_small_topics(questions, config.min_questions))),
        *shorten(list(_unfit_lengths(questions, config.max_question_characters))),
        *shorten(list(_training_repetitions(questions))),
        *shorten(list(_leaks(questions, config.near_duplicate_similarity))),
    ]


def _training(questions: Questions) -> list[tuple[str, str]]:
    """(label, question) of the FAQ and of the training questions about documents."""
    pairs: list[tuple[str, str]] = []
    for topic in questions.faq.topics:
        label = questions.faq.labels[topic.topic]
        pairs += [(label, question) for question in topic.questions]
    for item in questions.documents.training:
        pairs.append((questions.documents.labels[item.id], item.question))
    return pairs


def _small_topics(questions: Questions, minimum: int) -> Iterator[str]:
    for topic in questions.faq.topics:
        if len(topic.questions) < minimum:
            yield (
                f"{questions.faq.labels[topic.topic]}: questions: has {len(topic.questions)}, "
                f"fewer than params.yaml: examples.min_questions ({minimum}): add more"
            )


def _unfit_lengths(questions: Questions, maximum: int) -> Iterator[str]:
    for label, question in _training(questions):
        length = len(question.strip())
        if not MIN_QUESTION_CHARACTERS <= length <= maximum:
            yield (
                f"{label}: questions: {_short(question)} has {length} characters; it may have "
                f"{MIN_QUESTION_CHARACTERS} to {maximum} "
                "(params.yaml: examples.max_question_characters): reword it"
            )


def _training_repetitions(questions: Questions) -> Iterator[str]:
    labels: dict[str, str] = {}
    for label, question in _training(questions):
        words = wording.normal(question) or question
        if words in labels:
            yield (
                f"{label}: questions: {_short(question)} occurs twice "
                f"(also in {labels[words]}): remove either"
            )
        labels.setdefault(words, label)


def _leaks(questions: Questions, limit: float) -> Iterator[str]:
    """By the same measure as training_examples.build."""
    labels: dict[str, str] = {}
    for item in questions.golden.questions:
        labels[item.question] = questions.golden.labels[item.id]
    for document_item in questions.documents.golden:
        labels[document_item.question] = questions.documents.labels[document_item.id]
    pairs = _training(questions)
    matches = wording.most_alike([question for _, question in pairs], list(labels))
    for (label, question), match in zip(pairs, matches, strict=True):
        if match.similarity >= limit:
            yield (
                f"{label}: questions: {_short(question)} is worded like the golden question "
                f"{_short(match.question)} ({labels[match.question]}; similarity "
                f"{match.similarity:.2f}, params.yaml: examples.near_duplicate_similarity: "
                f"{limit}), and training must not see the exam: reword or remove either"
            )


def text_problems(questions: Questions, explain: Callable[[str], str | None]) -> list[str]:
    """Answers and questions of the FAQ of which `explain` says what is wrong; None: nothing."""
    problems: list[str] = []
    for topic in questions.faq.topics:
        label = questions.faq.labels[topic.topic]
        reason = explain(topic.answer)
        if reason:
            problems.append(f"{label}: answer: {_short(topic.answer)} {reason}")
        for question in topic.questions:
            reason = explain(question)
            if reason:
                problems.append(f"{label}: questions: {_short(question)} {reason}")
    return shorten(problems)


def prompt_problems(folder: Path, name: str, num_passages: dict[str, int]) -> list[str]:
    """Templates that cannot be read, a missing one, and one that would show no passages.

    `name` is that of `examples.template`; `num_passages`: key of params.yaml -> its value.
    """
    problems: list[str] = []
    for path in sorted({*folder.glob("*.yaml"), folder / f"{name}.yaml"}):
        try:
            template = prompts.load(path)
        except UserError as error:
            problems.append(str(error))
            continue
        if path.stem == name:
            problems += passage_problems(template, num_passages)
    return problems


def passage_problems(template: Prompt, num_passages: dict[str, int]) -> list[str]:
    """The keys that show a template no passage although it asks for some."""
    if not template.shows_passages:
        return []
    return [
        f"params.yaml: {key}: 0, but the template {template.name} (examples.template) shows "
        "passages: set it to at least 1, or take a template without {passages}"
        for key, count in num_passages.items()
        if count == 0
    ]


def _short(text: str) -> str:
    """Quoted, and cut to what a message can hold."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
