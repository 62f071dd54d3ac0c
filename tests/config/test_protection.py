from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import form, params, protection
from pipelines.config.protection import OPENING
from pipelines.config.section import (
    ANY_CHANGE,
    ANY_IF_RESTRICTED,
    FEWER,
    HIGHER,
    LOOSER,
    LOWER,
    MORE,
    Section,
    in_order,
)
from pipelines.runs import overrides

ROOT = Path(__file__).parents[2]
# All of these protect somebody; `ingest` has values of other kinds as well.
PROTECTED = ("gate", "proof", "canary", "release", "redact", "validate")
ISSUER: dict[str, Any] = {
    "issuer": "https://login.example.com",
    "audience": "assistant",
    "tenant_claim": ["team"],
    "role_claim": None,
    "roles": {},
    "default_role": "asker",
    "algorithms": None,
    "leeway_seconds": 30,
    "keys_seconds": 600.0,
}
RULES = (LOWER, HIGHER, FEWER, MORE, ANY_CHANGE, ANY_IF_RESTRICTED, OPENING)
NAMED_RULES = {str(rule[LOOSER]) for rule in RULES}


def fields_below(key: str, model: type[Section]) -> Iterator[tuple[str, Any]]:
    """Key and field of every single value."""
    for name, field in model.model_fields.items():
        deeper_model = protection.subsection(field)
        if deeper_model:
            yield from fields_below(f"{key}.{name}", deeper_model)
        else:
            yield f"{key}.{name}", field


def test_every_value_of_a_protected_section_says_which_way_is_looser() -> None:
    missing: list[str] = []
    for name, model in params.section_models().items():
        for key, field in fields_below(name, model):
            is_protected = name in PROTECTED or key.startswith(("ingest.limits", "ingest.quality"))
            if is_protected and protection.rule_of(field) is None:
                missing.append(key)
    assert missing == []


def test_every_rule_is_known_and_orders_all_values_of_its_choice() -> None:
    for name, model in params.section_models().items():
        schema = str(model.model_json_schema())
        for key, field in fields_below(name, model):
            rule = protection.rule_of(field)
            if isinstance(rule, list):
                assert all(f"'{value}'" in schema for value in rule), key
            elif rule is not None:
                assert rule in NAMED_RULES, key


@pytest.mark.parametrize(
    ("rule", "strict", "loose"),
    [
        (LOWER, 1.0, 0.99),
        (LOWER, {"a": 0.5, "b": 0.2}, {"a": 0.5, "b": 0.1}),
        (LOWER, {"a": 0.5, "b": 0.2}, {"a": 0.5}),
        (HIGHER, 0.1, 0.99),
        (HIGHER, None, 40),
        (FEWER, ["a", "b"], ["a"]),
        (MORE, ["a"], ["a", "b"]),
        (MORE, {"a": "why"}, {"a": "why", "b": "because"}),
        (ANY_CHANGE, "model", None),
        (ANY_IF_RESTRICTED, [{"name": "hr", "readers": ["hr"]}], [{"name": "hr", "readers": []}]),
        (OPENING, None, {"issuer": "https://login.example.com"}),
        (in_order("human", "auto"), "human", "auto"),
        (in_order("mask", "keep"), {"EMAIL_ADDRESS": "mask"}, {"EMAIL_ADDRESS": "keep"}),
        (in_order("mask", "keep"), {"EMAIL_ADDRESS": "mask"}, {}),
    ],
)
def test_one_direction_is_looser_and_the_opposite_is_not(
    rule: Any, strict: Any, loose: Any
) -> None:
    assert protection.is_looser(rule[LOOSER], strict, loose)
    assert not protection.is_looser(rule[LOOSER], loose, strict)
    assert not protection.is_looser(rule[LOOSER], strict, strict)


def test_a_list_of_other_steps_is_looser_either_way() -> None:
    for steps in ([0.5, 1.0], [0.01, 0.05, 1.0]):
        assert protection.is_looser(ANY_CHANGE[LOOSER], [0.05, 1.0], steps)


def test_whatever_changes_about_who_is_let_in_is_looser() -> None:
    before = {"issuer": "https://login.example.com", "roles": {"a": "asker"}}
    for after in (
        {**before, "issuer": "https://login.example.org"},
        {**before, "roles": {"a": "asker", "b": "operator"}},
        {**before, "roles": {}},
    ):
        assert protection.is_looser(OPENING[LOOSER], before, after)


def test_a_run_cannot_name_an_issuer_of_its_own(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    changed_file = tmp_path / "params.yaml"
    changed_file.write_text(text)
    overrides.apply(changed_file, {"gateway.oidc": ISSUER})
    before = params.load(ROOT / "params.yaml")
    after = params.load(changed_file)
    (difference,) = protection.differences(before, after)
    assert (difference.key, difference.is_looser) == ("gateway.oidc", True)
    (difference,) = protection.differences(after, before)
    assert not difference.is_looser


def test_differences_name_every_changed_value_and_those_that_are_looser(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    changed_file = tmp_path / "params.yaml"
    changed_file.write_text(text)
    values = {
        "finetune.seed": 8,
        "gate.champion_margin": 0.99,
        "canary.limits.thumbs.tolerate": 0.01,
    }
    overrides.apply(changed_file, values)
    differences = protection.differences(
        params.load(ROOT / "params.yaml"), params.load(changed_file)
    )
    looser = {difference.key: difference.is_looser for difference in differences}
    assert looser == {
        "finetune.seed": False,
        "gate.champion_margin": True,
        "canary.limits.thumbs.tolerate": False,
    }


def test_the_trigger_form_says_which_values_are_protected() -> None:
    values = params.load(ROOT / "params.yaml")
    texts = {field.key: field.help for field in form.fields(values, ["release", "finetune"])}
    assert form.PROTECTED in texts["release.approval"]
    assert form.PROTECTED not in texts["finetune.seed"]


def test_every_section_has_fields_also_one_with_a_section_that_may_be_null() -> None:
    values = params.load(ROOT / "params.yaml")
    fields = form.fields(values, values.names())
    schemas = {field.key: field.schema for field in fields}
    assert schemas["gateway.oidc"] == {"type": ["null", "object"]}
    assert all("type" in schema or "enum" in schema for schema in schemas.values())
