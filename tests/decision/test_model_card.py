"""What a release adds to the card of its export."""

from huggingface_hub import ModelCard

from pipelines.contracts.report import Check
from pipelines.contracts.verdict import Override, Verdict
from pipelines.decision import model_card
from pipelines.decision.model_card import Decision

WHEN = "2026-11-21T14:02:11+00:00"
CARD = f"---\nlicense: mit\n---\n# Tiny\n{model_card.RELEASE_HEADING}\n{model_card.NOT_RELEASED}\n"


def test_a_release_adds_who_decided_and_why_and_what_could_not_be_told() -> None:
    decisions = [
        Decision("Approved", "bob", WHEN, "read\nthe <b>answers</b>"),
        Decision("Released", "ada", WHEN, "new policy"),
    ]
    card = model_card.add_release(CARD, decisions, ["thumbs down"])
    assert card.endswith(
        "# Tiny\n\n## Release\n\n"
        f"- Approved by bob at {WHEN}: read the &lt;b>answers&lt;/b>\n"
        f"- Released by ada at {WHEN}: new policy\n"
        "- the canary could not tell: thumbs down\n"
    )
    assert ModelCard(card).data.license == "mit"


def test_a_later_decision_replaces_an_earlier_one() -> None:
    first = model_card.add_release(CARD, [Decision("Released", "ada", WHEN, "one")], [])
    second = model_card.add_release(first, [Decision("Released", "bob", WHEN, "two")], [])
    assert "ada" not in second
    assert second.startswith(first.partition("- Released")[0])


def test_an_override_is_shown_with_its_author_and_its_end() -> None:
    rule = Check(name="floor hit_at_5", passed=False, observed="0.85", expected=">= 0.9")
    override = Override(
        candidate="c1", rules=["floor hit_at_5"], who="ada", why="urgent", until="2999-01-31"
    )
    verdict = Verdict(
        accepted=True, candidate="c1", reason="by override", rules=[rule], overrides=[override]
    )
    lines = "\n".join(model_card._describe_gate(verdict)).splitlines()
    assert "| floor hit_at_5 | 0.85 | >= 0.9 | no |" in lines
    assert lines[-1] == "Overridden by ada until 2999-01-31: floor hit_at_5, because: urgent"


def test_no_cell_of_a_table_breaks_its_row() -> None:
    table = model_card._table(("a", "b"), [("x|y", "two\nlines"), (None, "`code`")])
    assert table.splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| x\\|y | two lines |",
        "|  | \\`code\\` |",
    ]
