"""The fields of a form made from params.yaml's typed models: name, section, JSON Schema and today's value. Airflow's trigger form is made of them."""

from typing import Any, NamedTuple

from pipelines.config.params import Params

KEPT = ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern", "minItems")
SCALARS = {"string", "integer", "number", "boolean"}


class Field(NamedTuple):
    """One value of params.yaml."""

    key: str  # section.key, deeper keys likewise
    section: str  # heading
    help: str  # meaning and unit
    schema: dict[str, Any]  # JSON Schema of the value
    value: Any  # today's


def fields(values: Params, sections: list[str]) -> list[Field]:
    """The fields of these sections of params.yaml, in order."""
    schema: dict[str, Any] = Params.model_json_schema(by_alias=True)
    today = values.model_dump(mode="json", by_alias=True)
    return [field for name in sections for field in _below(name, f"{name}: {schema['properties'][name].get('description', '')}", schema["properties"][name], today[name], schema["$defs"])]


def _below(key: str, heading: str, schema: dict[str, Any], value: Any, known: dict[str, Any]) -> list[Field]:
    resolved = known[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    if "properties" not in resolved:
        return [Field(key, heading, schema.get("description", ""), _plain(resolved), value)]
    return [field for name, part in resolved["properties"].items() for field in _below(f"{key}.{name}", heading, part, value[name], known)]


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without references. A list of sections keeps its type alone: the run's first task checks it by the model."""
    if "anyOf" in schema:
        options = [_plain(option) for option in schema["anyOf"]]
        return {**{key: value for option in options for key, value in option.items()}, "type": [option["type"] for option in reversed(options)]}
    plain = {key: schema[key] for key in KEPT if key in schema}
    if "const" in schema:
        plain["enum"] = [schema["const"]]
    if plain.get("type") == "array" and schema.get("items", {}).get("type") in SCALARS:
        plain["items"] = {"type": schema["items"]["type"]}
    return plain


def sections() -> list[str]:
    """The sections of params.yaml, in order."""
    return [field.alias or name for name, field in Params.model_fields.items()]
