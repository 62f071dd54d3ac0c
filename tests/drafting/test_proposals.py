from pipelines.drafting import proposals
from pipelines.drafting.proposals import Proposal

PASSAGE = """## Timeouts

The server waits for 60 seconds. After that, the
connection is closed   and the client gets status 408.

- `TimeOut` sets the seconds
- `KeepAlive` keeps connections open

| key | default |
| --- | --- |
| TimeOut | 60 |"""


def test_the_evidence_is_the_sentence_of_the_answer_word_for_word() -> None:
    assert proposals.evidence(PASSAGE, "60 seconds") == "The server waits for 60 seconds."
    evidence = proposals.evidence(PASSAGE, "the connection is closed and the client")
    assert evidence is not None
    assert " ".join(evidence.split()) == (
        "After that, the connection is closed and the client gets status 408."
    )


def test_items_of_a_list_and_rows_of_a_table_are_evidence_of_their_own() -> None:
    assert proposals.evidence(PASSAGE, "keeps connections open") == (
        "- `KeepAlive` keeps connections open"
    )
    assert proposals.evidence(PASSAGE, "TimeOut | 60") == "| TimeOut | 60 |"


def test_an_answer_that_the_passage_does_not_hold_has_no_evidence() -> None:
    assert proposals.evidence(PASSAGE, "90 seconds") is None
    assert proposals.evidence(PASSAGE, "") is None


def test_pairs_are_read_from_what_models_write_around_them() -> None:
    text = (
        "Sure! Here they are:\n\nQuestion: How long does the server wait?\nAnswer: 60 seconds\n\n"
        'Question: Which status does the client get?\nAnswer: "status 408"\nHope this helps.'
    )
    assert proposals.parse(text, 2, is_answerable=True) == [
        Proposal("How long does the server wait?", "60 seconds"),
        Proposal("Which status does the client get?", "status 408"),
    ]
    assert len(proposals.parse(text, 1, is_answerable=True)) == 1
    assert proposals.parse("I do not know.", 2, is_answerable=True) == []


def test_an_unanswerable_question_needs_no_answer() -> None:
    text = "Question: Which port does the server listen on?\nAnswer: unknown"
    assert proposals.parse(text, 1, is_answerable=False) == [
        Proposal("Which port does the server listen on?", None)
    ]


def test_the_prompt_shows_the_passage_last_and_as_many_examples_as_are_asked_for() -> None:
    system, user = proposals.prompt("Own passage.", 1, is_answerable=True)
    assert "Write 1 of them" in system["content"]
    assert user["content"].endswith("Own passage.")
    assert user["content"].count("Question:") == 1
    (_, unanswerable) = proposals.prompt("Own passage.", 2, is_answerable=False)
    assert "Answer:" not in unanswerable["content"]
