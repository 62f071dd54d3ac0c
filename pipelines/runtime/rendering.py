"""Turns a prompt template into what the model reads: a text, or messages for its chat template.

`prompt_tokens.py` makes tokens of either.
"""

import json
import re

# Messages of a chat: each has a `role` (system or user) and a `content`.
Messages = list[dict[str, str]]
ModelInput = str | Messages
WORD_JOINER = "\u2060"  # an invisible character that stands for nothing but "no break here"


def render(form: ModelInput, passage: str, question: str, passages: list[str]) -> ModelInput:
    """Fill in the template; braces inside the question and the passages stay as they are."""
    pairs = enumerate(passages, start=1)
    context = "".join(passage.format(number=number, text=text) for number, text in pairs)
    values = {"question": question.strip(), "passages": context}
    if isinstance(form, str):
        return form.format(**values)
    contents = [message["content"].format(**values) for message in form]
    return [{**message, "content": text} for message, text in zip(form, contents, strict=True)]


def shown_text(title: str, text: str) -> str:
    """A passage as the model reads it: under the title of its document.

    Without it nobody could tell what a passage from the middle of a page is about.
    """
    return f"{title}: {text}" if title else text


def plain_text(prompt: ModelInput) -> str:
    """All that is said in a prompt, without the roles."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message["content"] for message in prompt)


def pack(prompt: ModelInput) -> str:
    """What is sent to the Triton model `generator`: the text itself, or messages as JSON."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)


def unpack(text: str, holds_messages: bool) -> ModelInput:
    """What `pack` packed. Raises ValueError if that is not messages although it should be."""
    if not holds_messages:
        return text
    messages = json.loads(text)
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise ValueError("the prompt is not a JSON list of messages, each with role and content")
    return messages


def _is_message(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return value.keys() == {"role", "content"} and all(map(_is_text, value.values()))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def disarm(text: str, control_tokens: list[str]) -> str:
    """Cut each control token in a text by a word joiner after its first character.

    For engines that take a prompt as text alone and would read it as a control token. The text
    looks the same to people.
    """
    if not control_tokens:
        return text
    alternatives = "|".join(map(re.escape, control_tokens))
    # Looked ahead, so that a token inside another is cut too.
    return re.sub(f"(?=(?:{alternatives}))(.)", rf"\1{WORD_JOINER}", text, flags=re.DOTALL)
