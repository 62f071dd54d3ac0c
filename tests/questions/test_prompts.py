from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from pipelines.errors import UserError
from pipelines.questions import prompts
from pipelines.questions.prompts import Message, Prompt
from pipelines.runtime import prompt_tokens, rendering
from pipelines.training import base_model

ROOT = Path(__file__).parents[2]
CHAT = Prompt(
    name="chat-v9",
    description="",
    messages=[
        Message(role="system", content="{{Be brief.}}"),
        Message(role="user", content="{passages}Q: {question}"),
    ],
    passage="[{number}] {text}\n",
    refusal="That is not in the documents.",
)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role + ': ' + message.content }}\n"
    "{% endfor %}{{ '{a}: ' }}"
)


def test_a_template_shows_the_stripped_question_and_numbered_passages_in_order() -> None:
    prompt = Prompt(
        name="p",
        description="",
        prompt="{passages}Question: {question}\nAnswer:",
        passage="[{number}] {text}\n",
    )
    assert prompt.shows_passages
    assert prompt.render("  how? \n", ["one", "two"]) == "[1] one\n[2] two\nQuestion: how?\nAnswer:"
    assert prompt.render("how?", []) == "Question: how?\nAnswer:"


def test_as_many_of_the_best_passages_are_shown_as_the_limit_holds() -> None:
    prompt = Prompt(
        name="p", description="", prompt="{passages}Q: {question}", passage="{text} ", refusal="No."
    )
    passages = ["because of this", "because of that", "because of those"]
    reader = tokenizer(None)
    num_tokens = len(prompt_tokens.prompt_tokens(reader, prompt.render("why?", passages[:2])))

    assert prompt.fit("why?", passages, reader, 1000) == (
        "because of this because of that because of those Q: why?",
        passages,
    )
    assert prompt.fit("why?", passages, reader, num_tokens).passages == passages[:2]
    assert prompt.fit("why?", passages, reader, num_tokens - 1).passages == passages[:1]


def test_the_question_is_shown_even_if_it_is_longer_than_the_limit() -> None:
    prompt = Prompt(
        name="p", description="", prompt="{passages}Q: {question}", passage="{text} ", refusal="No."
    )
    assert prompt.fit("why? " * 50, ["because"], tokenizer(None), 16) == (
        f"Q: {('why? ' * 50).strip()}",
        [],
    )


def test_a_template_without_passages_leaves_them_out() -> None:
    prompt = Prompt(name="p", description="", prompt="Q: {question}", passage="")
    assert not prompt.shows_passages
    assert prompt.render("how?", ["one"]) == "Q: how?"


def test_braces_in_texts_are_not_placeholders_and_double_braces_in_a_template_are_literal() -> None:
    prompt = Prompt(
        name="p", description="", prompt="{{json}} {passages}{question}", passage="{text} "
    )
    text = prompt.render("what is {passages} {0}?", ["a {question} b"])
    assert text == "{json} a {question} b what is {passages} {0}?"


def test_a_completion_is_a_space_and_the_stripped_answer() -> None:
    prompt = Prompt(name="p", description="", prompt="Q: {question}\nA:", passage="")
    assert prompt.completion(" Run it.\n") == prompts.completion(" Run it.\n") == " Run it."


def test_a_completion_after_messages_is_the_stripped_answer() -> None:
    assert CHAT.completion(" Run it.\n") == "Run it."
    assert CHAT.shows_passages


@pytest.mark.parametrize(
    "path", sorted((ROOT / "data/prompts").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_template_of_the_repository_is_sound(path: Path) -> None:
    prompt = prompts.load(path)
    text = rendering.plain_text(prompt.render("why?", ["because"]))
    assert text.count("why?") == 1
    assert text.count("because") == int(prompt.shows_passages)


def test_a_saved_template_can_be_loaded_from_its_artifact(tmp_path: Path) -> None:
    prompt = Prompt(name="faq-v9", description="ä", prompt="Q: {question}\nA:", passage="")
    prompts.save(prompt, tmp_path)
    assert prompts.load(tmp_path / "prompt.yaml") == prompt
    text = "name: faq-v9\ndescription: ä\nprompt: 'Q: {question}\n\n  A:'\npassage: ''\n"
    assert (tmp_path / "prompt.yaml").read_text() == text
    prompts.save(CHAT, tmp_path)
    assert prompts.load(tmp_path / "prompt.yaml") == CHAT


def tokenizer(chat_template: str | None) -> PreTrainedTokenizerFast:
    made = base_model.train_tokenizer(["why? because"], 300)
    made.chat_template = chat_template
    return made


def test_messages_need_a_chat_template(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    message = r"p.yaml: messages: the base model \(params.yaml: base.source\) has no chat template"
    with pytest.raises(UserError, match=message):
        prompts.check_tokenizer(path, CHAT, tokenizer(None))
    prompts.check_tokenizer(path, CHAT, tokenizer(CHAT_TEMPLATE))
    plain = Prompt(name="p", description="", prompt="Q: {question}", passage="")
    prompts.check_tokenizer(path, plain, tokenizer(None))
    prompts.check_tokenizer(path, plain, tokenizer(CHAT_TEMPLATE))


def test_the_text_of_messages_is_the_chat_templates_with_their_placeholders() -> None:
    text = prompts.chat_form(Path("p.yaml"), CHAT, tokenizer(CHAT_TEMPLATE))
    assert text == "<s>system: {{Be brief.}}\nuser: {passages}Q: {question}\n{{a}}: "
    question = "a {b} c"
    assert rendering.render(text, CHAT.passage, question, ["{}"]) == (
        "<s>system: {Be brief.}\nuser: [1] {}\nQ: a {b} c\n{a}: "
    )


@pytest.mark.parametrize(
    ("chat_template", "problem"),
    [
        (
            "{{ raise_exception('System role not supported') }}",
            "the base model's chat template refuses them: System role not supported. "
            "If it knows no system message, put that text into the user's",
        ),
        ("{{ messages[0].content }}", "does not show each message once and as it is"),
        ("{{ messages[1].content }}{{ messages[1].content }}", "does not show each message once"),
    ],
)
def test_a_chat_template_that_does_not_take_the_messages_is_reported(
    chat_template: str, problem: str
) -> None:
    with pytest.raises(UserError) as caught:
        prompts.check_tokenizer(Path("p.yaml"), CHAT, tokenizer(chat_template))
    assert str(caught.value).startswith("p.yaml: messages: ")
    assert problem in str(caught.value)


def test_a_template_that_spells_control_tokens_is_refused() -> None:
    prompt = Prompt(name="p", description="", prompt="<s>Q: {question}</s>", passage="")
    message = r"p.yaml: spells </s>, <s>, which would be read as text: .* Leave them out"
    with pytest.raises(UserError, match=message):
        prompts.check_tokenizer(Path("p.yaml"), prompt, tokenizer(None))


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    prompt = Prompt(name="p", description="", prompt="Q: {question}", passage="")
    endless_tokenizer = tokenizer(None)
    endless_tokenizer.eos_token = None
    with pytest.raises(UserError, match="base.source: the base model's tokenizer has no end token"):
        prompts.check_tokenizer(Path("p.yaml"), prompt, endless_tokenizer)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "{name: p, description: d, prompt: 'Answer:', passage: ''}",
            "prompt: must hold {question} once and nothing else but {passages}; "
            "it holds no placeholder",
        ),
        (
            "{name: p, description: d, prompt: '{question} {question}', passage: ''}",
            "prompt: must hold {question} once",
        ),
        (
            "{name: p, description: d, prompt: '{question} {answer}', passage: ''}",
            "it holds ['question', 'answer']. Write a literal brace twice",
        ),
        (
            "{name: p, description: d, prompt: '{question} {}', passage: ''}",
            "it holds ['question', '']",
        ),
        (
            "{name: p, description: d, prompt: '{question} {passages}', passage: '[{number}]'}",
            "passage: holds ['number']; it may hold {number} and must hold {text}",
        ),
        (
            "{name: p, description: d, prompt: '{passages}{question}', passage: '{text}'}",
            "refusal: is what the model says if no passage answers: a template with {passages} "
            "needs it",
        ),
        (
            "{name: p, description: d, prompt: '{question}', passage: '', refusal: No.}",
            "refusal: is what the model says if no passage answers: a template with {passages} "
            "needs it, such as `refusal: I cannot find that in the documents.`, and no other has",
        ),
        (
            "{name: p, description: d, prompt: '{question}', passage: '{other}'}",
            "passage: holds ['other']",
        ),
        (
            "{name: p, description: d, prompt: '{question', passage: ''}",
            "is not a prompt template: expected '}' before end of string",
        ),
        (
            "{name: q, description: d, prompt: '{question}', passage: ''}",
            "name: 'q' is not the file's name (p)",
        ),
        ("{name: p, description: d, prompt: '{question}'}", "passage\n  Field required"),
        (
            "{name: p, description: d, passage: ''}",
            "holds neither of prompt and messages: write prompt (a text, for every model)",
        ),
        (
            "{name: p, description: d, prompt: '{question}', messages: [], passage: ''}",
            "holds both of prompt and messages",
        ),
        (
            "{name: p, description: d, messages: [], passage: ''}",
            "messages: have the roles []: write system and user, or user alone",
        ),
        (
            "{name: p, description: d, messages: [{role: user, content: '{question}'}, "
            "{role: system, content: s}], passage: ''}",
            "messages: have the roles ['user', 'system']",
        ),
        (
            "{name: p, description: d, messages: [{role: assistant, content: '{question}'}], "
            "passage: ''}",
            "messages.0.role\n  Input should be 'system' or 'user'",
        ),
        (
            "{name: p, description: d, messages: [{role: system, content: '{question}'}, "
            "{role: user, content: '{question}'}], passage: ''}",
            "must hold {question} once",
        ),
        (
            "{name: p, description: d, prompt: '{question}', passage: '', more: 1}",
            "more\n  Extra inputs are not permitted",
        ),
        ("- p", "is not a prompt template: "),
        ("{", "is not a prompt template: while parsing"),
    ],
)
def test_a_template_that_is_not_sound_is_reported_with_file_and_key(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        prompts.load(tmp_path / "p.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/p.yaml: ")
    assert problem in str(caught.value)


def test_the_error_about_a_missing_template_lists_the_existing_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no templates at all"):
        prompts.load(tmp_path / "p.yaml")
    (tmp_path / "b.yaml").write_text("")
    (tmp_path / "a.yaml").write_text("")
    problem = r"params.yaml: examples.template: .*/p.yaml does not exist; there are a, b$"
    with pytest.raises(UserError, match=problem):
        prompts.load(tmp_path / "p.yaml")
