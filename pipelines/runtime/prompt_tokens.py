"""Turns prompts and answers into tokens, the same in training, evaluation and serving.

Control tokens (`<|im_end|>`, `</s>`) come from the tokenizer's own chat template alone: where a
question, a passage or an answer spells them, they are encoded as the text that they look like.
"""

from typing import Any

from .rendering import Messages, ModelInput

# Some chat templates write today's date. With this one, the default of Llama 3's, the same messages
# give the same tokens on every day.
FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}\n"


def prompt_tokens(tokenizer: Any, prompt: ModelInput) -> list[int]:
    """The tokens of a rendered prompt, up to where the answer begins.

    Messages are written by the tokenizer's chat template; a text begins as the tokenizer begins
    texts. Raises ValueError if the tokenizer makes a control token of plain text.
    """
    if isinstance(prompt, str):
        return _text_tokens(tokenizer, prompt)
    tokens: list[int] = _apply(
        tokenizer, prompt, tokenize=True, return_dict=False, sanitize_control_tokens=True
    )
    return tokens


def answer_tokens(tokenizer: Any, answer: str) -> list[int]:
    """The tokens of an answer, and the end token after it. Raises ValueError as `prompt_tokens`."""
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no end token (tokenizer_config.json: eos_token)")
    tokens = _text_tokens(tokenizer, answer, add_special_tokens=False)
    return [*tokens, tokenizer.eos_token_id]


def chat_text(tokenizer: Any, messages: Messages) -> str:
    """The text that the chat template makes of messages, control tokens spelt out."""
    text: str = _apply(tokenizer, messages, tokenize=False)
    return text


def control_tokens(tokenizer: Any) -> list[str]:
    """How the control tokens are spelt: special ones, and others that the chat template writes."""
    template = tokenizer.get_chat_template() if tokenizer.chat_template else ""
    spellings = []
    for token in tokenizer.added_tokens_decoder.values():
        spelling = token.content
        if token.special or (spelling in template and not spelling.isspace()):
            spellings.append(spelling)
    return sorted(spellings)


def _apply(tokenizer: Any, messages: Messages, **options: Any) -> Any:
    """Apply the chat template. A model that can think before it answers answers at once."""
    template = tokenizer.get_chat_template()
    if "strftime_now" in template:
        template = FIXED_DATE + template
    return tokenizer.apply_chat_template(
        messages,
        chat_template=template,
        add_generation_prompt=True,
        enable_thinking=False,
        **options,
    )


def _text_tokens(tokenizer: Any, text: str, add_special_tokens: bool = True) -> list[int]:
    """The tokens of a text, without an end token that the tokenizer may put after it."""
    encoding = tokenizer(
        text,
        add_special_tokens=add_special_tokens,
        split_special_tokens=True,
        return_special_tokens_mask=True,
    )
    tokens: list[int] = encoding["input_ids"]
    is_added = encoding["special_tokens_mask"]
    control = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for token, flag in zip(tokens, is_added, strict=True):
        if token in control and not flag:
            spelling = tokenizer.convert_ids_to_tokens(token)
            raise ValueError(f"the tokenizer makes the control token {spelling} of plain text")
    if tokens and is_added[-1] and tokens[-1] == tokenizer.eos_token_id:
        return tokens[:-1]
    return tokens
