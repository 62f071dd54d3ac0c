"""The round trip of a draft: what it must pass before a person sees it.

Retrieval finds its evidence among the first passages, the answer stands there word for word, the
teacher gives it with these passages and does not without the evidence, and nobody has asked it yet.
A question that is to be unanswerable must be refused with what retrieval finds for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipelines.config.draft import DraftConfig
from pipelines.decision import scoring
from pipelines.drafting import proposals
from pipelines.drafting.drafts import Draft
from pipelines.drafting.proposals import Proposal
from pipelines.questions import wording
from pipelines.questions.document_questions import MAX_ANSWER_CHARACTERS, contains
from pipelines.questions.prompts import Prompt
from pipelines.questions.reading_examples import Source
from pipelines.runtime import comparison
from pipelines.runtime.rendering import ModelInput

NUM_CANDIDATES = 10  # passages retrieved, so that enough remain when the evidence is taken out
MIN_QUESTION_WORDS = 3
MAX_ANSWER_TOKENS = 96
# Questions that make sense only beside their passage.
DEICTIC = ("this passage", "the passage", "this text", "the text", "this section", "this document")


class Drop(StrEnum):
    """Why a proposal is not drafted, in words for the table of counts."""

    UNREADABLE = "the teacher wrote no question in the form asked for"
    UNFIT = "question or answer too short, too long, or about `the passage`"
    NOT_VERBATIM = "the answer does not stand in the passage word for word"
    REPEATED = "worded like a question that exists already"
    NOT_RETRIEVED = "retrieval does not find the evidence among the first passages"
    NOT_ANSWERED = "the teacher does not give the answer with the passages"
    ANSWERED_WITHOUT = "the teacher gives the answer without the evidence as well"
    ANSWERED_ANYHOW = "meant to be unanswerable, but the teacher finds an answer"


@dataclass(frozen=True)
class Passage:
    """A chunk that a draft is about."""

    chunk_id: str
    source: Source


@dataclass(frozen=True)
class Attempt:
    """A proposal under way; `evidence` None: it is to be unanswerable."""

    passage: Passage
    proposal: Proposal
    evidence: str | None = None
    rank: int | None = None
    hits: tuple[Source, ...] = ()  # of retrieval, best first


@dataclass(frozen=True)
class Outcome:
    """What became of the proposals of some passages."""

    drafts: list[Draft]
    drops: list[Drop]


@dataclass(frozen=True)
class RoundTrip:
    """What the checks need."""

    config: DraftConfig
    near_duplicate: float  # similarity of wordings from which two questions count as the same
    max_question_characters: int
    template: Prompt
    retrieve: Callable[[str], list[Source]]
    answer: Callable[[Sequence[ModelInput], int], list[str]]
    teacher: str

    def pass_through(
        self, pairs: Sequence[tuple[Passage, Proposal]], questions: Sequence[str]
    ) -> Outcome:
        """Check proposals, the cheap checks first. `questions`: those that exist already."""
        drops: list[Drop] = []
        attempts: list[Attempt] = []
        existing = list(questions)
        for passage, proposal in pairs:
            result = self._prepare(passage, proposal, existing)
            if isinstance(result, Drop):
                drops.append(result)
                continue
            existing.append(proposal.question)
            attempts.append(result)
        drafts = self._read(attempts, drops)
        return Outcome(drafts, drops)

    def _prepare(
        self, passage: Passage, proposal: Proposal, questions: Sequence[str]
    ) -> Attempt | Drop:
        """The checks that need no model."""
        if not self._is_fit(proposal):
            return Drop.UNFIT
        evidence = None
        if proposal.answer is not None:
            evidence = proposals.evidence(passage.source.text, proposal.answer)
            if evidence is None:
                return Drop.NOT_VERBATIM
        (match,) = wording.most_alike([proposal.question], list(questions))
        if match.similarity >= self.near_duplicate:
            return Drop.REPEATED
        hits = tuple(self.retrieve(proposal.question)[:NUM_CANDIDATES])
        if evidence is None:
            return Attempt(passage, proposal, hits=hits)
        rank = _rank(hits[: self.config.max_rank], evidence)
        if rank is None:
            return Drop.NOT_RETRIEVED
        return Attempt(passage, proposal, evidence, rank, hits)

    def _is_fit(self, proposal: Proposal) -> bool:
        question = proposal.question
        if len(question.split()) < MIN_QUESTION_WORDS:
            return False
        if len(question) > self.max_question_characters:
            return False
        if any(phrase in question.lower() for phrase in DEICTIC):
            return False
        answer = proposal.answer
        return answer is None or 0 < len(answer) <= MAX_ANSWER_CHARACTERS

    def _read(self, attempts: Sequence[Attempt], drops: list[Drop]) -> list[Draft]:
        """The checks by the teacher, all prompts of a kind at once."""
        answers = self._ask([self._candidates(attempt) for attempt in attempts], attempts)
        remaining: list[Attempt] = []
        drafts: list[Draft] = []
        for attempt, answer in zip(attempts, answers, strict=True):
            if attempt.evidence is None:
                if self._refuses(answer):
                    drafts.append(self._draft(attempt))
                else:
                    drops.append(Drop.ANSWERED_ANYHOW)
            elif self._agrees(answer, attempt):
                remaining.append(attempt)
            else:
                drops.append(Drop.NOT_ANSWERED)
        without = [self._candidates_without(attempt) for attempt in remaining]
        for attempt, answer in zip(remaining, self._ask(without, remaining), strict=True):
            if self._agrees(answer, attempt):
                drops.append(Drop.ANSWERED_WITHOUT)
            else:
                drafts.append(self._draft(attempt))
        return drafts

    def _ask(self, passages: Sequence[list[Source]], attempts: Sequence[Attempt]) -> list[str]:
        if not attempts:
            return []
        prompts: list[ModelInput] = []
        for sources, attempt in zip(passages, attempts, strict=True):
            candidates = [source.prompt_text for source in sources]
            prompts.append(self.template.render(attempt.proposal.question, candidates))
        return self.answer(prompts, MAX_ANSWER_TOKENS)

    def _candidates(self, attempt: Attempt) -> list[Source]:
        """What retrieval finds; for an unanswerable question also the passage it came from."""
        candidates = list(attempt.hits[: self.config.max_rank])
        is_unanswerable = attempt.evidence is None
        if is_unanswerable and attempt.passage.source not in candidates:
            candidates = [*candidates[: self.config.max_rank - 1], attempt.passage.source]
        return candidates

    def _candidates_without(self, attempt: Attempt) -> list[Source]:
        evidence = attempt.evidence or ""
        rest = [source for source in attempt.hits if not contains(source.text, evidence)]
        return rest[: self.config.max_rank]

    def _agrees(self, answer: str, attempt: Attempt) -> bool:
        """Whether the teacher's answer says what the drafted one says."""
        expected = attempt.proposal.answer or ""
        if self._refuses(answer):
            return False
        if scoring.contains_answer(answer, expected):
            return True
        return scoring.token_f1(answer, expected) >= self.config.min_agreement

    def _refuses(self, answer: str) -> bool:
        refusal = comparison.normalize(self.template.refusal or "")
        return comparison.normalize(answer).startswith(refusal)

    def _draft(self, attempt: Attempt) -> Draft:
        proposal = attempt.proposal
        return Draft.make(
            question=proposal.question,
            answer=proposal.answer,
            evidence=attempt.evidence,
            page=attempt.passage.source.uri,
            chunk_id=attempt.passage.chunk_id,
            passage=attempt.passage.source.text,
            teacher=self.teacher,
            rank=attempt.rank,
        )


def _rank(sources: Sequence[Source], evidence: str) -> int | None:
    """The position of the first passage that holds the evidence, from 1."""
    for rank, source in enumerate(sources, start=1):
        if contains(source.text, evidence):
            return rank
    return None
