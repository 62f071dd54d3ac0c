from collections.abc import Sequence
from pathlib import Path

from pipelines.config import params
from pipelines.config.draft import DraftConfig
from pipelines.drafting.proposals import Proposal
from pipelines.drafting.round_trip import Drop, Outcome, Passage, RoundTrip
from pipelines.questions import prompts
from pipelines.questions.reading_examples import Source
from pipelines.runtime import rendering
from pipelines.runtime.rendering import ModelInput

ROOT = Path(__file__).parents[2]
REFUSAL = "I cannot find that in the documents."
WAIT = Source("d/a", "The server waits for 60 seconds.", "The server waits for 60 seconds.")
PORT = Source("d/b", "The proxy listens on port 8080.", "The proxy listens on port 8080.")
CACHE = Source("d/c", "The cache holds 512 pages.", "The cache holds 512 pages.")
FAR = Source("d/e", "The log is kept for 14 days.", "The log is kept for 14 days.")


def reader(inputs: Sequence[ModelInput], _max_tokens: int) -> list[str]:
    """Answers by rules over passages and question, as a careful reader would."""
    answers: list[str] = []
    for prompt in inputs:
        passages, _, question = rendering.plain_text(prompt).partition("Question:")
        if "How long" in question and "60 seconds" in passages:
            answers.append("60 seconds.")
        elif "planets" in question:
            answers.append("8 planets")
        elif "port" in question and "8080" in passages:
            answers.append("Port 8080")
        else:
            answers.append(REFUSAL)
    return answers


def pass_through(
    *ideas: Proposal, questions: Sequence[str] = (), source: Source = WAIT, first: Source = WAIT
) -> Outcome:
    """The outcome of proposals about `source`; retrieval finds `first` and three others."""
    trip = RoundTrip(
        config=params.load(ROOT / "params.yaml").section(DraftConfig),
        near_duplicate=0.75,
        max_question_characters=200,
        template=prompts.load(ROOT / "data/prompts/grounded-chat-v1.yaml"),
        retrieve=lambda _question: [first, PORT, CACHE, FAR],
        answer=reader,
        teacher="rules",
    )
    pairs = [(Passage("c-1", source), idea) for idea in ideas]
    return trip.pass_through(pairs, list(questions))


def test_a_draft_that_passes_holds_its_evidence_page_and_rank() -> None:
    outcome = pass_through(Proposal("How long does the server wait?", "60 seconds"))
    (draft,) = outcome.drafts
    assert outcome.drops == []
    assert (draft.answer, draft.evidence) == ("60 seconds", "The server waits for 60 seconds.")
    assert (draft.page, draft.rank, draft.teacher) == ("d/a", 1, "rules")


def test_an_answer_that_is_not_word_for_word_in_the_passage_is_dropped() -> None:
    outcome = pass_through(Proposal("How long does the server wait?", "one minute"))
    assert outcome.drops == [Drop.NOT_VERBATIM]


def test_a_question_worded_like_another_is_dropped_also_within_the_same_batch() -> None:
    proposal = Proposal("How long does the server wait?", "60 seconds")
    assert pass_through(proposal, questions=["how long does the server wait"]).drops == [
        Drop.REPEATED
    ]
    again = Proposal("How long does the server wait??", "60 seconds")
    outcome = pass_through(proposal, again)
    assert (len(outcome.drafts), outcome.drops) == (1, [Drop.REPEATED])


def test_evidence_beyond_the_first_passages_is_dropped() -> None:
    outcome = pass_through(Proposal("How many days is the log kept?", "14 days"), source=FAR)
    assert outcome.drops == [Drop.NOT_RETRIEVED]


def test_a_question_that_the_teacher_cannot_answer_from_the_passages_is_dropped() -> None:
    outcome = pass_through(Proposal("What is said of waiting?", "waits for 60 seconds"))
    assert outcome.drops == [Drop.NOT_ANSWERED]


def test_what_the_teacher_knows_without_the_evidence_is_dropped() -> None:
    planets = Source("d/f", "There are 8 planets.", "There are 8 planets.")
    idea = Proposal("How many planets are there?", "8 planets")
    assert pass_through(idea, source=planets, first=planets).drops == [Drop.ANSWERED_WITHOUT]


def test_an_unanswerable_question_stays_only_if_the_teacher_refuses_it() -> None:
    outcome = pass_through(
        Proposal("Who wrote the first server?", None),
        Proposal("Which port does the proxy use?", None),
    )
    (draft,) = outcome.drafts
    assert draft.question == "Who wrote the first server?"
    assert (draft.answer, draft.evidence, draft.rank) == (None, None, None)
    assert outcome.drops == [Drop.ANSWERED_ANYHOW]


def test_questions_that_make_sense_only_beside_their_passage_are_dropped() -> None:
    outcome = pass_through(
        Proposal("How long does the passage say the server waits?", "60 seconds"),
        Proposal("How long?", "60 seconds"),
    )
    assert outcome.drops == [Drop.UNFIT, Drop.UNFIT]
