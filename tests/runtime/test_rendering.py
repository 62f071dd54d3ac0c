import pytest

from pipelines.runtime import rendering
from pipelines.runtime.rendering import Messages

FORM: Messages = [
    {"role": "system", "content": "Answer in JSON: {{}}."},
    {"role": "user", "content": "{passages}Question: {question}"},
]


def test_messages_are_filled_in_like_a_text() -> None:
    assert rendering.render(FORM, "[{number}] {text}\n", " why {0}? ", ["one", "{two}"]) == [
        {"role": "system", "content": "Answer in JSON: {}."},
        {"role": "user", "content": "[1] one\n[2] {two}\nQuestion: why {0}?"},
    ]


@pytest.mark.parametrize("prompt", [FORM, "Question: what?\nAnswer:", ""])
def test_a_packed_prompt_is_unpacked_as_it_was(prompt: rendering.ModelInput) -> None:
    assert rendering.unpack(rendering.pack(prompt), isinstance(prompt, list)) == prompt


def test_a_text_that_looks_like_packed_messages_stays_a_text() -> None:
    text = rendering.pack(FORM)
    assert rendering.unpack(text, holds_messages=False) == text


@pytest.mark.parametrize(
    "text", ["", "hello", "{}", "[1]", '[{"role": "user"}]', '[{"role": "user", "content": null}]']
)
def test_what_should_be_messages_and_is_not_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON list of messages|Expecting value"):
        rendering.unpack(text, holds_messages=True)


def test_a_disarmed_text_spells_no_control_token_and_looks_the_same() -> None:
    tokens = ["<|im_end|>", "<|im_end|><|x|>", "</s>", "[<[", "<["]
    text = "a </s> b <|im_end|><|x|> [<[ <s> </ s>"
    disarmed = rendering.disarm(text, tokens)
    assert not any(token in disarmed for token in tokens)
    assert disarmed.replace(rendering.WORD_JOINER, "") == text
    assert rendering.disarm(text, []) == text
    assert rendering.disarm("nothing to disarm", tokens) == "nothing to disarm"
