"""The fields of a form made from params.yaml's typed models. Airflow's trigger form shows them."""

from typing import Any, NamedTuple

from pipelines.config.params import Params, file_model
from pipelines.config.section import LOOSER

SCHEMA_KEYS = (
    *("type", "enum", "pattern", "minItems", "minLength", "maxLength"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
)
SCALARS = {"string", "integer", "number", "boolean"}
PROTECTED = (
    ". Protected: a looser value takes a change in Git, or somebody whom airflow.approvers names"
)
Schema = dict[str, Any]


class Field(NamedTuple):
    """One value of params.yaml."""

    key: str  # section.key, deeper keys likewise
    section: str  # heading
    help: str  # meaning and unit
    schema: Schema  # JSON Schema of the value
    value: Any  # today's


def fields(values: Params, sections: list[str]) -> list[Field]:
    """The fields of these sections of params.yaml, in order."""
    schema = file_model().model_json_schema(by_alias=True)
    form: list[Field] = []
    for name in sections:
        part = schema["properties"][name]
        heading = f"{name}: {part.get('description', '')}"
        section = values.named(name)
        value = section.model_dump(mode="json", by_alias=True)
        # As the file has it: a list of sources with keys that it leaves out would be an override.
        value |= section.model_dump(mode="json", by_alias=True, exclude_unset=True)
        form += _fields_below(Field(name, heading, "", part, value), schema["$defs"])
    return form


def _fields_below(field: Field, definitions: Schema) -> list[Field]:
    """The field itself if it holds a single value, else the fields of its keys."""
    reference = field.schema.get("$ref", "").rsplit("/", 1)[-1]
    schema = definitions[reference] if reference else field.schema
    if "properties" not in schema:
        description = field.schema.get("description", "")
        if LOOSER in field.schema:
            description += PROTECTED
        return [field._replace(help=description, schema=_simplify(schema))]
    form: list[Field] = []
    for name, part in schema["properties"].items():
        child = Field(f"{field.key}.{name}", field.section, "", part, field.value[name])
        form += _fields_below(child, definitions)
    return form


def _simplify(schema: Schema) -> Schema:
    """The schema without references.

    A section that may be null, and a list of sections, keep their type alone: the run's first task
    checks them by the model.
    """
    if "$ref" in schema:
        return {"type": "object"}
    if "anyOf" in schema:
        options = [_simplify(option) for option in schema["anyOf"]]
        combination: Schema = {}
        for option in options:
            combination |= option
        return combination | {"type": [option["type"] for option in reversed(options)]}
    simple = {key: schema[key] for key in SCHEMA_KEYS if key in schema}
    if "const" in schema:
        simple["enum"] = [schema["const"]]
    item_type = schema.get("items", {}).get("type")
    if simple.get("type") == "array" and item_type in SCALARS:
        simple["items"] = {"type": item_type}
    return simple
