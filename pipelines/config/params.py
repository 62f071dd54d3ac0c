"""Reads params.yaml into typed sections. Errors name file, line, key, value and remedy.

A section `name` is described by `pipelines/config/name.py`, which holds one `NameConfig`: there is
no list to keep. Only the runner, the commands and the DAGs read the whole file.
"""

import difflib
import importlib
import json
import pkgutil
import re
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, create_model

from pipelines import config
from pipelines.config.section import Section
from pipelines.errors import UserError, invalid_yaml

SOURCE_KINDS = ("files", "faq", "python_packages", "web", "sql", "hf", "git")
COMPARE = "`git diff params.yaml`"
EXPONENT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
Location = tuple[str | int, ...]
AnySection = TypeVar("AnySection", bound=Section)


class Params:
    """The whole of params.yaml, checked: its sections by name, in the order of the file."""

    def __init__(self, sections: dict[str, Section]):
        self._sections = sections

    def section(self, model: type[AnySection]) -> AnySection:
        """The section that `model` describes."""
        for section in self._sections.values():
            if isinstance(section, model):
                return section
        raise AssertionError(f"{model.__name__} describes no section of params.yaml")

    def named(self, name: str) -> Section:
        """The section of that name. Raises UserError if there is none."""
        if name not in self._sections:
            names = ", ".join(self._sections)
            raise UserError(f"params.yaml has no section `{name}`; its sections are {names}")
        return self._sections[name]

    def names(self) -> list[str]:
        """The names of the sections, in the order of the file."""
        return list(self._sections)


@cache
def section_models() -> dict[str, type[Section]]:
    """Section name -> its model: `NameConfig` of each module `name` in this folder."""
    models: dict[str, type[Section]] = {}
    for module in pkgutil.iter_modules(config.__path__):
        class_name = f"{module.name.title().replace('_', '')}Config"
        model = getattr(
            importlib.import_module(f"pipelines.config.{module.name}"), class_name, None
        )
        if model is not None:
            models[module.name] = model
    return models


@cache
def file_model() -> type[Section]:
    """The model of the whole file."""
    fields: dict[str, Any] = {}
    for name, model in section_models().items():
        summary = (model.__doc__ or "").splitlines()[0].rstrip(".")
        # A field may not be called `validate`, so every field has an alias.
        fields[f"{name}_section"] = (model, Field(alias=name, description=summary))
    return create_model("Params", __base__=Section, __doc__="params.yaml.", **fields)


class Loader(yaml.SafeLoader):
    """YAML as DVC reads it (1.2): 5e-4 is a number. A key that occurs twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error_at(key, "a key must be a single word")
            name = self.construct_object(key)
            line = key.start_mark.line + 1
            if name in lines:
                raise _error_at(key, f"key `{name}` occurs twice (lines {lines[name]} and {line})")
            lines[name] = line
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789."))


def _error_at(node: yaml.Node, problem: str) -> Exception:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def load(path: Path = Path("params.yaml")) -> Params:
    """Typed parameters. Raises UserError that lists every wrong key with its line."""
    if not path.exists():
        raise UserError(
            f"{path} is not here: run this from the repository's root, "
            f"or restore it with `git checkout {path}`"
        )
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8, "
            f"or restore it with `git checkout {path}`"
        ) from error
    except yaml.YAMLError as error:
        raise invalid_yaml(path, error) from error
    try:
        checked = file_model().model_validate(values)
    except ValidationError as error:
        # Composed only now: it takes most of the time that parsing a DAG takes.
        root = yaml.compose(text, yaml.SafeLoader)
        problems = error.errors()
        problems.sort(key=lambda problem: _line(root, _location(problem)))
        raise UserError("\n".join(_explain(path, root, problem) for problem in problems)) from error
    return Params({name: getattr(checked, f"{name}_section") for name in values})


def schema() -> str:
    """JSON Schema of params.yaml, for editors (infra/params.schema.json)."""
    return (
        json.dumps(file_model().model_json_schema(by_alias=True), indent=1, sort_keys=True) + "\n"
    )


def _explain(path: Path, root: yaml.Node | None, problem: Any) -> str:
    """One sentence for a problem that pydantic found: file, line, key, what to do."""
    location = _location(problem)
    prefix = f"{path}:{_line(root, location)}:"
    key = _dotted(location)
    value = problem["input"]
    match problem["type"]:
        case "union_tag_not_found":
            kind = _dotted((*location, "kind"))
            kinds = ", ".join(SOURCE_KINDS)
            return f"{prefix} {kind}: is missing. It says which source this is: {kinds}."
        case "extra_forbidden":
            return f"{prefix} {key}: no such key. {_suggest(location)}"
        case "missing":
            return f"{prefix} {key}: is missing. Add it ({COMPARE} shows the comments)."
        case "model_type":
            return f"{prefix} {key}: must hold keys with values (it is {value!r}). See {COMPARE}."
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(value, dict | BaseModel):
        return f"{prefix} {key}: {message}"
    return f"{prefix} {key}: {message} (it is {value!r})"


def _location(problem: Any) -> Location:
    """Where in the file the problem is; pydantic also names the kind of a source, which we drop."""
    return tuple(part for part in problem["loc"] if part not in SOURCE_KINDS)


def _suggest(location: Location) -> str:
    """The key that was probably meant, or all that exist there."""
    names = _keys_at(location[:-1])
    similar = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f"Did you mean `{similar[0]}`?" if similar else f"Known here: {', '.join(names)}."


def _dotted(location: Location) -> str:
    """`ingest.sources[1].path`."""
    parts = [f"[{part}]" if isinstance(part, int) else part for part in location]
    return ".".join(parts).replace(".[", "[") or "the file"


def _line(node: yaml.Node | None, location: Location) -> int:
    """Line of the deepest part of `location` that the file has."""
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value}
            if part not in pairs:
                return line
            key, node = pairs[part]
            line = key.start_mark.line + 1
        elif (
            isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value)
        ):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _keys_at(location: Location) -> list[str]:
    """The keys that the schema allows at `location`."""
    schema = file_model().model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    options = [schema]
    for part in location:
        option = options[0]
        child = (
            option["items"] if isinstance(part, int) else option.get("properties", {}).get(part, {})
        )
        variants = child.get("oneOf") or child.get("anyOf") or [child]  # anyOf: it may be null
        options = [_resolve(variant, definitions) for variant in variants]
    names: set[str] = set()
    for option in options:
        names |= set(option.get("properties", {}))
    return sorted(names)


def _resolve(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    name = str(schema.get("$ref", "")).rsplit("/", 1)[-1]
    resolved: dict[str, Any] = definitions.get(name, schema)
    return resolved
