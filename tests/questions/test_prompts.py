from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.questions import prompts
from pipelines.questions.prompts import Prompt

ROOT = Path(__file__).parents[2]


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
    assert prompts.completion(" Run it.\n") == " Run it."


@pytest.mark.parametrize(
    "path", sorted((ROOT / "data/prompts").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_template_of_the_repository_is_sound(path: Path) -> None:
    prompt = prompts.load(path)
    assert prompt.render("why?", ["because"]).count("why?") == 1


def test_a_saved_template_can_be_loaded_from_its_artifact(tmp_path: Path) -> None:
    prompt = Prompt(name="faq-v9", description="ä", prompt="Q: {question}\nA:", passage="")
    prompts.save(prompt, tmp_path)
    assert prompts.load(tmp_path / "prompt.yaml") == prompt


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
