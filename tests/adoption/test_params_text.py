from pathlib import Path

import yaml

from pipelines.adoption import params_text

TEXT = """\
ingest:
  limit: 0.02            # of all documents
  sources:
    - kind: files        # the manual
      name: handbook
    # a remark at the end

gate:
  floors:                # lower ends
    exact_match: 0.6
    hit_at_5: 0.6        # retrieval
  metrics: [exact_match, hit_at_5]   # compared
"""


def test_a_changed_value_leaves_every_other_character_and_the_column_of_its_comment() -> None:
    text = params_text.replace_value(TEXT, "ingest.limit", 0.125)
    assert text == TEXT.replace("limit: 0.02            # of", "limit: 0.125           # of")


def test_a_list_on_one_line_is_replaced_whole() -> None:
    text = params_text.replace_value(TEXT, "gate.metrics", ["exact_match"])
    assert '  metrics: ["exact_match"]' in text
    assert yaml.safe_load(text)["gate"]["metrics"] == ["exact_match"]


def test_a_removed_key_takes_its_line_and_comment_along() -> None:
    text = params_text.remove_key(TEXT, "gate.floors.hit_at_5")
    assert text == TEXT.replace("    hit_at_5: 0.6        # retrieval\n", "")


def test_a_map_gets_a_line_for_each_key_however_it_was_written_before() -> None:
    flow = "gate:\n  floors: {a: 1, b: 2}\n  next: 3\n"
    block = "gate:\n  floors:\n    a: 1\n    b: 2\n  next: 3\n"
    assert params_text.replace_value(flow, "gate.floors", {"a": 1, "b": 2}) == block
    assert params_text.replace_value(block, "gate.floors", {"c": 4}) == (
        "gate:\n  floors:\n    c: 4\n  next: 3\n"
    )
    assert (
        params_text.remove_key(flow, "gate.floors.a") == "gate:\n  floors:\n    b: 2\n  next: 3\n"
    )


def test_an_added_key_stands_at_the_head_of_its_block() -> None:
    text = params_text.add_key(TEXT, "gate.floors.mrr", 0.4)
    assert yaml.safe_load(text)["gate"]["floors"] == {
        "mrr": 0.4,
        "exact_match": 0.6,
        "hit_at_5": 0.6,
    }


def test_taking_values_over_brings_back_the_exact_text_with_its_comments() -> None:
    changed = params_text.replace_text(TEXT, "ingest.sources", "- kind: web\n      name: site")
    changed = params_text.remove_key(changed, "gate.floors.exact_match")
    assert "the manual" not in changed
    keys = ["ingest.sources", "gate.floors"]
    assert params_text.take_over(changed, TEXT, keys) == TEXT


def test_the_shipped_parameters_survive_a_round_trip_of_each_key_that_adopt_touches() -> None:
    from pipelines.commands.adopt import KEYS

    text = (Path(__file__).parents[2] / "params.yaml").read_text()
    assert params_text.take_over(text, text, KEYS) == text
