"""Prompt templates (data/prompts/*.yaml): the text form of training, evaluation and serving."""

import string
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.errors import UserError
from pipelines.files import write_text
from pipelines.runtime.rendering import render

FILE = "prompt.yaml"  # a template's name beside the examples, the adapter and the export


class Prompt(BaseModel):
    """A template.

    `prompt` holds {question} and, if it shows passages, {passages}; `passage` renders each passage.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    prompt: str
    passage: str

    @property
    def shows_passages(self) -> bool:
        return "passages" in _placeholders(self.prompt)

    def render(self, question: str, passages: list[str]) -> str:
        """The text that the model reads; braces inside question and passages stay as they are."""
        return render(self.prompt, self.passage, question, passages)


def completion(answer: str) -> str:
    """What the model is to write after the prompt, without the end token that follows."""
    return " " + answer.strip()


def load(path: Path) -> Prompt:
    """A checked template. Raises UserError with file, key and remedy."""
    if not path.exists():
        names = ", ".join(sorted(sibling.stem for sibling in path.parent.glob("*.yaml")))
        raise UserError(
            f"params.yaml: examples.template: {path} does not exist; "
            f"there are {names or 'no templates at all'}"
        )
    try:
        prompt = Prompt.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        in_prompt = _placeholders(prompt.prompt)
        in_passage = _placeholders(prompt.passage)
    except (yaml.YAMLError, ValidationError, ValueError) as error:
        raise UserError(
            f"{path}: is not a prompt template: {error}\n"
            "It needs name, description, prompt and passage, as data/prompts/faq-v1.yaml has them"
        ) from error
    _check_placeholders(path, in_prompt, in_passage)
    if path.name != FILE and prompt.name != path.stem:
        raise UserError(f"{path}: name: {prompt.name!r} is not the file's name ({path.stem})")
    return prompt


def _check_placeholders(path: Path, in_prompt: list[str], in_passage: list[str]) -> None:
    if in_prompt.count("question") != 1 or set(in_prompt) - {"question", "passages"}:
        raise UserError(
            f"{path}: prompt: must hold {{question}} once and nothing else but {{passages}}; "
            f"it holds {in_prompt or 'no placeholder'}. Write a literal brace twice"
        )
    lacks_text = "passages" in in_prompt and "text" not in in_passage
    if lacks_text or set(in_passage) - {"number", "text"}:
        raise UserError(
            f"{path}: passage: holds {in_passage}; it may hold {{number}} and must hold {{text}} "
            "if the prompt shows {passages}"
        )


def save(prompt: Prompt, folder: Path) -> None:
    """Keep the template beside the artifact that was made with it."""
    text = yaml.safe_dump(prompt.model_dump(), sort_keys=False, allow_unicode=True)
    write_text(folder / FILE, text)


def _placeholders(template: str) -> list[str]:
    parts = string.Formatter().parse(template)
    return [name for _, name, _, _ in parts if name is not None]
