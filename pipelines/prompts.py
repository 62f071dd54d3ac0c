"""Knows prompt templates (data/prompts/*.yaml): the one text form that training, evaluation and serving share."""

import string
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.errors import UserError
from pipelines.files import write_text
from pipelines.rendering import render

FILE = "prompt.yaml"  # name under which a template travels with examples, adapter and export


class Prompt(BaseModel):
    """A template. `prompt` holds {question} and, where it shows passages, {passages}; `passage` renders one of these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    prompt: str
    passage: str

    @property
    def shows_passages(self) -> bool:
        return "passages" in _fields(self.prompt)

    def render(self, question: str, passages: list[str]) -> str:
        """The text that the model reads; braces inside question and passages stay as they are."""
        return render(self.prompt, self.passage, question, passages)


def completion(answer: str) -> str:
    """What the model is to write after the prompt (its end token comes after it)."""
    return " " + answer.strip()


def load(path: Path) -> Prompt:
    """A checked template. Raises UserError that names file, key and remedy."""
    if not path.exists():
        others = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise UserError(f"params.yaml: examples.template: there is no {path}; there are {others or 'no templates at all'}")
    try:
        found = Prompt.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        fields, inner = _fields(found.prompt), _fields(found.passage)
    except (yaml.YAMLError, ValidationError, ValueError) as error:
        raise UserError(f"{path}: is no prompt template: {error}\nIt needs name, description, prompt and passage, as data/prompts/faq-v1.yaml has them") from error
    if fields.count("question") != 1 or set(fields) - {"question", "passages"}:
        raise UserError(f"{path}: prompt: must hold {{question}} once and nothing else but {{passages}}; it holds {fields or 'no placeholder'}. A literal brace is written twice")
    if set(inner) - {"number", "text"} or (found.shows_passages and "text" not in inner):
        raise UserError(f"{path}: passage: holds {inner}; it may hold {{number}} and must hold {{text}} where the prompt shows {{passages}}")
    if path.name != FILE and found.name != path.stem:
        raise UserError(f"{path}: name: {found.name!r} is not the file's name ({path.stem})")
    return found


def save(prompt: Prompt, folder: Path) -> None:
    """Let the template travel with what was made with it."""
    write_text(folder / FILE, yaml.safe_dump(prompt.model_dump(), sort_keys=False, allow_unicode=True))


def _fields(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
