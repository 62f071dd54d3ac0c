"""Prompt templates (data/prompts/*.yaml): the form of training, evaluation and serving alike."""

import string
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.errors import UserError
from pipelines.files import write_text
from pipelines.runtime import prompt_tokens, rendering
from pipelines.runtime.rendering import Messages, ModelInput

FILE = "prompt.yaml"  # a template's name beside the examples, the adapter and the export
ROLES = (["system", "user"], ["user"])
# Characters of private use that stand for what is filled in while a chat template is looked at.
QUESTION_MARK = "\ue000"
PASSAGES_MARK = "\ue001"
MAX_NAMES = 3  # in a message


class Message(BaseModel):
    """A message of a chat; its content may hold {question} and {passages}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user"]
    content: str


class Fitted(NamedTuple):
    """A prompt, and the passages that it shows."""

    prompt: ModelInput
    passages: list[str]


class Prompt(BaseModel):
    """A template: either `prompt`, a text, or `messages`, for models with a chat template.

    Either holds {question} and, if it shows passages, {passages}; `passage` renders each passage.
    A template that shows passages says how the model refuses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    prompt: str | None = None
    messages: list[Message] | None = None
    passage: str
    refusal: str | None = None  # the answer to a question that no passage answers

    @property
    def form(self) -> ModelInput:
        """The text or the messages, with their placeholders."""
        if self.messages is None:
            return self.prompt or ""
        return [{"role": message.role, "content": message.content} for message in self.messages]

    @property
    def shows_passages(self) -> bool:
        return "passages" in _placeholders(rendering.plain_text(self.form))

    def render(self, question: str, passages: list[str]) -> ModelInput:
        """What the model reads; braces inside question and passages stay as they are."""
        return rendering.render(self.form, self.passage, question, passages)

    def fit(self, question: str, passages: list[str], tokenizer: Any, limit: int) -> Fitted:
        """The prompt with as many of the best passages as `limit` tokens hold.

        Whole passages are left out, never the question: a prompt may be longer without any.
        """
        for count in range(len(passages), -1, -1):
            prompt = self.render(question, passages[:count])
            if count == 0 or len(prompt_tokens.prompt_tokens(tokenizer, prompt)) <= limit:
                break
        return Fitted(prompt, passages[:count])

    def completion(self, answer: str) -> str:
        """What the model is to write after the prompt, without the end token that follows."""
        return answer.strip() if self.messages else completion(answer)


def completion(answer: str) -> str:
    """The same after a template that is a text, which ends without a space."""
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
        in_prompt = _placeholders(rendering.plain_text(prompt.form))
        in_passage = _placeholders(prompt.passage)
    except (yaml.YAMLError, ValidationError, ValueError) as error:
        raise UserError(
            f"{path}: is not a prompt template: {error}\n"
            "It needs name, description, passage and either prompt, as data/prompts/faq-v1.yaml "
            "has them, or messages, as data/prompts/grounded-chat-v1.yaml"
        ) from error
    _check_form(path, prompt)
    key = "prompt" if prompt.messages is None else "messages"
    _check_placeholders(path, key, in_prompt, in_passage)
    if ("passages" in in_prompt) != bool(prompt.refusal and prompt.refusal.strip()):
        raise UserError(
            f"{path}: refusal: is what the model says if no passage answers: a template with "
            "{passages} needs it, such as `refusal: I cannot find that in the documents.`, and no "
            "other has it"
        )
    if path.name != FILE and prompt.name != path.stem:
        raise UserError(f"{path}: name: {prompt.name!r} is not the file's name ({path.stem})")
    return prompt


def _check_form(path: Path, prompt: Prompt) -> None:
    if (prompt.prompt is None) == (prompt.messages is None):
        amount = "neither" if prompt.prompt is None else "both"
        raise UserError(
            f"{path}: holds {amount} of prompt and messages: "
            "write prompt (a text, for every model) or messages (for models with a chat template)"
        )
    roles = [message.role for message in prompt.messages or []]
    if prompt.messages is not None and roles not in ROLES:
        raise UserError(
            f"{path}: messages: have the roles {roles}: write system and user, or user alone"
        )


def _check_placeholders(path: Path, key: str, in_prompt: list[str], in_passage: list[str]) -> None:
    if in_prompt.count("question") != 1 or set(in_prompt) - {"question", "passages"}:
        raise UserError(
            f"{path}: {key}: must hold {{question}} once and nothing else but {{passages}}; "
            f"it holds {in_prompt or 'no placeholder'}. Write a literal brace twice"
        )
    lacks_text = "passages" in in_prompt and "text" not in in_passage
    if lacks_text or set(in_passage) - {"number", "text"}:
        raise UserError(
            f"{path}: passage: holds {in_passage}; it may hold {{number}} and must hold {{text}} "
            f"if {key} shows {{passages}}"
        )


def check_tokenizer(path: Path, prompt: Prompt, tokenizer: Any) -> None:
    """Raise UserError if a base model with this tokenizer cannot read the template at `path`."""
    texts = rendering.plain_text(prompt.form) + prompt.passage
    spellings = [token for token in prompt_tokens.control_tokens(tokenizer) if token in texts]
    if spellings:
        raise UserError(
            f"{path}: spells {', '.join(spellings[:MAX_NAMES])}, which would be read as text: "
            "control tokens come from the base model's chat template alone. Leave them out; write "
            "messages instead of prompt where the model has a chat template"
        )
    if tokenizer.eos_token_id is None:
        raise UserError(
            "params.yaml: base.source: the base model's tokenizer has no end token "
            "(tokenizer_config.json: eos_token), so no answer could be taught to end"
        )
    if prompt.messages is None:
        return
    if not tokenizer.chat_template:
        raise UserError(no_chat_template(path))
    chat_form(path, prompt, tokenizer)


def no_chat_template(path: Path) -> str:
    """The message about a template of messages for a model without a chat template."""
    return (
        f"{path}: messages: the base model (params.yaml: base.source) has no chat template: name "
        "a template with prompt, such as faq-v1 or grounded-v1, in params.yaml: examples.template"
    )


def chat_form(path: Path, prompt: Prompt, tokenizer: Any) -> str:
    """The text that the chat template makes of the messages, with {question} and {passages}.

    For engines that take text alone. Raises UserError if the chat template refuses the messages
    or does not show them as they are.
    """
    from jinja2 import TemplateError

    marks = {"question": QUESTION_MARK, "passages": PASSAGES_MARK}
    messages: Messages = []
    for message in prompt.messages or []:
        messages.append({"role": message.role, "content": message.content.format(**marks)})
    try:
        text = prompt_tokens.chat_text(tokenizer, messages)
    except (TemplateError, ValueError) as error:
        raise UserError(
            f"{path}: messages: the base model's chat template refuses them: {error}. If it knows "
            "no system message, put that text into the user's"
        ) from error
    contents = "".join(message["content"] for message in messages)
    if any(text.count(mark) != contents.count(mark) for mark in marks.values()):
        raise UserError(
            f"{path}: messages: the base model's chat template does not show each message once and "
            "as it is: use a template with prompt"
        )
    text = text.replace("{", "{{").replace("}", "}}")
    for name, mark in marks.items():
        text = text.replace(mark, "{" + name + "}")
    return text


def save(prompt: Prompt, folder: Path) -> None:
    """Keep the template beside the artifact that was made with it."""
    content = prompt.model_dump(exclude_none=True)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_text(folder / FILE, text)


def _placeholders(template: str) -> list[str]:
    parts = string.Formatter().parse(template)
    return [name for _, name, _, _ in parts if name is not None]
