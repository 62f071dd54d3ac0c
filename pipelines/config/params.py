"""Reads params.yaml into typed sections, with errors that name file, line, key, value and remedy. Only the runner imports it."""

import difflib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from pipelines.config.airflow import AirflowConfig
from pipelines.config.base import BaseConfig
from pipelines.config.chunk import ChunkConfig
from pipelines.config.embed import EmbedConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.engine import EngineConfig
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.examples import ExamplesConfig
from pipelines.config.export import ExportConfig
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.gate import GateConfig
from pipelines.config.index import IndexConfig
from pipelines.config.ingest import IngestConfig
from pipelines.config.monitor import MonitorConfig
from pipelines.config.redact import RedactConfig
from pipelines.config.release import ReleaseConfig
from pipelines.config.section import Section
from pipelines.config.serve import CanaryConfig, ProofConfig, ServeConfig
from pipelines.config.survey import SurveyConfig
from pipelines.config.validate import ValidateConfig
from pipelines.errors import UserError
from pipelines.yamlerrors import no_yaml

KINDS = ("files", "python_packages", "web", "sql", "hf", "git")
Location = tuple[str | int, ...]


class Params(Section):
    """The whole of params.yaml, in stage order."""

    engine: EngineConfig = Field(description="where documents are worked on")
    ingest: IngestConfig = Field(description="documents in")
    redact: RedactConfig = Field(description="personal data")
    validate_: ValidateConfig = Field(alias="validate", description="what documents must be like")
    encoder: EncoderConfig = Field(description="the embedding model")
    chunk: ChunkConfig = Field(description="passages")
    embed: EmbedConfig = Field(description="vectors")
    survey: SurveyConfig = Field(description="the page that shows the corpus")
    index: IndexConfig = Field(description="Weaviate")
    base: BaseConfig = Field(description="the model before fine-tuning")
    examples: ExamplesConfig = Field(description="training examples")
    finetune: FinetuneConfig = Field(description="DeepSpeed fine-tuning")
    evaluate: EvaluateConfig = Field(description="golden set")
    gate: GateConfig = Field(description="acceptance")
    export: ExportConfig = Field(description="Triton model repository")
    release: ReleaseConfig = Field(description="from candidate to champion")
    proof: ProofConfig = Field(description="what a release must show on a fresh server")
    canary: CanaryConfig = Field(description="how a release takes over")
    serve: ServeConfig = Field(description="the live server")
    monitor: MonitorConfig = Field(description="traffic and drift")
    airflow: AirflowConfig = Field(description="schedules, retries, queues, notifications of the DAGs")

    def section(self, name: str) -> Section:
        """The section of that name. Raises UserError for a name that is none."""
        sections = {field.alias or key: getattr(self, key) for key, field in type(self).model_fields.items()}
        if name not in sections:
            raise UserError(f"params.yaml has no section `{name}`; its sections are {', '.join(sections)}")
        found: Section = sections[name]
        return found


class _Loader(yaml.SafeLoader):
    """YAML as DVC reads it (1.2): 5e-4 is a number. A key that occurs twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a single word", key.start_mark)
            name, line = self.construct_object(key), key.start_mark.line + 1
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key `{name}` occurs twice (lines {seen[name]} and {line})", key.start_mark)
            seen[name] = line
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789."))


def load(path: Path = Path("params.yaml")) -> Params:
    """Typed parameters. Raises UserError that lists every wrong key with its line."""
    if not path.exists():
        raise UserError(f"{path} is not here: run this from the repository's root, or restore it with `git checkout {path}`")
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8, or restore it with `git checkout {path}`") from error
    except yaml.YAMLError as error:
        raise no_yaml(path, error) from error
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        lines = yaml.compose(text, yaml.SafeLoader)  # here, since reading the file takes most of what parsing a DAG takes
        problems = [_explain(path, lines, problem) for problem in error.errors()]
        raise UserError("\n".join(problems)) from error


def schema() -> str:
    """JSON Schema of params.yaml, for editors (infra/params.schema.json)."""
    return json.dumps(Params.model_json_schema(by_alias=True), indent=1, sort_keys=True) + "\n"


def _explain(path: Path, lines: yaml.Node | None, problem: Any) -> str:
    place = tuple(part for part in problem["loc"] if part not in KINDS)
    if problem["type"] == "union_tag_not_found":
        return f"{path}:{_line(lines, place)}: {_dotted((*place, 'kind'))}: is missing. It says which source this is: {', '.join(KINDS)}."
    where = f"{path}:{_line(lines, place)}: {_dotted(place)}"
    if problem["type"] == "extra_forbidden":
        known = _fields(place[:-1])
        close = difflib.get_close_matches(str(place[-1]), known, n=1)
        return f"{where}: no such key." + (f" Did you mean `{close[0]}`?" if close else f" Known here: {', '.join(known)}.")
    if problem["type"] == "missing":
        return f"{where}: is missing. Add it (see the comments of params.yaml in Git: `git diff params.yaml`)."
    if problem["type"] == "model_type":
        return f"{where}: must hold keys with values (it is {problem['input']!r}). Compare it with Git: `git diff params.yaml`."
    message = re.sub(r"^Value error, ", "", problem["msg"])
    return f"{where}: {message} (it is {problem['input']!r})" if not isinstance(problem["input"], (dict, BaseModel)) else f"{where}: {message}"


def _dotted(place: Location) -> str:
    return re.sub(r"\.\[", "[", ".".join(f"[{part}]" if isinstance(part, int) else part for part in place)) or "the file"


def _line(node: yaml.Node | None, place: Location) -> int:
    """Line of the deepest part of `place` that the file has."""
    line = 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            match = next(((key, value) for key, value in node.value if key.value == part), None)
            if match is None:
                return line
            line, node = match[0].start_mark.line + 1, match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _fields(place: Location) -> list[str]:
    """Names that the schema knows at `place`."""
    schema: dict[str, Any] = Params.model_json_schema(by_alias=True)
    definitions, current = schema.get("$defs", {}), schema
    names: set[str] = set(current.get("properties", {}))
    for part in place:
        options = [current["items"]] if isinstance(part, int) else [current.get("properties", {}).get(part, {})]
        resolved: list[dict[str, Any]] = []
        for option in options:
            for variant in option.get("oneOf", [option]):
                resolved.append(definitions.get(str(variant.get("$ref", "")).rsplit("/", 1)[-1], variant))
        names = {name for option in resolved for name in option.get("properties", {})}
        current = resolved[0]
    return sorted(names)
