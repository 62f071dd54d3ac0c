"""Which values differ between two states of params.yaml, and which differences are looser.

A value of `gate`, say, protects everybody from a model that is not good enough. Its field says
which change is looser (`pipelines.config.section`), and whoever starts a run may only tighten it.
"""

from typing import Any, NamedTuple

from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from pipelines.config.params import Params, section_models
from pipelines.config.section import (
    ANY_CHANGE,
    ANY_IF_RESTRICTED,
    FEWER,
    HIGHER,
    LOOSER,
    LOWER,
    MORE,
    Section,
)

# The rule of a value that lets somebody in: only null, which lets nobody in, is stricter.
OPENING: JsonDict = {LOOSER: "any value"}
Rule = Any  # a JSON value: the name of a rule, or the values of a choice, the strictest first
Values = dict[str, Any]


class Difference(NamedTuple):
    """A value that is not the same in both."""

    key: str  # section.key, deeper keys likewise
    before: Any
    after: Any
    is_looser: bool


def differences(before: Params, after: Params) -> list[Difference]:
    """Every value that differs, section by section."""
    result: list[Difference] = []
    for name, model in section_models().items():
        old = before.named(name).model_dump(mode="json", by_alias=True)
        new = after.named(name).model_dump(mode="json", by_alias=True)
        result += _differences_below(name, model, old, new)
    return result


def rule_of(field: FieldInfo) -> Rule | None:
    """The field's rule; None if a run may change it at will."""
    extra = field.json_schema_extra
    return extra.get(LOOSER) if isinstance(extra, dict) else None


def subsection(field: FieldInfo) -> type[Section] | None:
    """The model of a field that holds a section of its own."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def is_looser(rule: Rule, before: Any, after: Any) -> bool:
    """Whether `after` allows what `before` does not."""
    if before == after:
        return False
    if rule == OPENING[LOOSER]:
        return after is not None
    if isinstance(before, dict):
        return _is_mapping_looser(rule, before, after)
    if before is None or after is None:
        # null is the lowest allowance, and the absence of any other protection.
        return (before is None) if rule == HIGHER[LOOSER] else (after is None)
    return _allows_more(rule, before, after)


def _is_mapping_looser(rule: Rule, before: Values, after: Values) -> bool:
    if rule == MORE[LOOSER]:
        return not after.items() <= before.items()
    for name, value in before.items():
        if name not in after or is_looser(rule, value, after[name]):
            return True
    return False


def _allows_more(rule: Rule, before: Any, after: Any) -> bool:
    if isinstance(rule, list):
        return bool(rule.index(after) > rule.index(before))
    if rule in (FEWER[LOOSER], MORE[LOOSER], ANY_IF_RESTRICTED[LOOSER]):
        return _lists_more(rule, before, after)
    if rule == LOWER[LOOSER]:
        return bool(after < before)
    if rule == HIGHER[LOOSER]:
        return bool(after > before)
    assert rule == ANY_CHANGE[LOOSER], rule
    return True


def _lists_more(rule: Rule, before: list[Any], after: list[Any]) -> bool:
    """Of lists that are not equal."""
    if rule == FEWER[LOOSER]:
        return not set(before) <= set(after)
    if rule == MORE[LOOSER]:
        return not set(after) <= set(before)
    return any(source.get("readers") for source in before)


def _differences_below(
    key: str, model: type[Section], before: Values, after: Values
) -> list[Difference]:
    result: list[Difference] = []
    for name, field in model.model_fields.items():
        part = field.alias or name
        old, new = before[part], after[part]
        deeper_model = subsection(field)
        if deeper_model:
            result += _differences_below(f"{key}.{part}", deeper_model, old, new)
        elif old != new:
            rule = rule_of(field)
            looser = rule is not None and is_looser(rule, old, new)
            result.append(Difference(f"{key}.{part}", old, new, looser))
    return result
