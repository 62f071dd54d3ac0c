from pathlib import Path

import pytest

from pipelines import prompts
from pipelines.errors import UserError
from pipelines.prompts import Prompt

ROOT = Path(__file__).parents[1]


def test_a_template_shows_the_stripped_question_and_numbered_passages_in_order() -> None:
    prompt = Prompt(name="p", description="", prompt="{passages}Question: {question}\nAnswer:", passage="[{number}] {text}\n")
    assert prompt.shows_passages
    assert prompt.render("  how? \n", ["one", "two"]) == "[1] one\n[2] two\nQuestion: how?\nAnswer:"
    assert prompt.render("how?", []) == "Question: how?\nAnswer:"


def test_a_template_without_passages_leaves_them_out() -> None:
    prompt = Prompt(name="p", description="", prompt="Q: {question}", passage="")
    assert not prompt.shows_passages
    assert prompt.render("how?", ["one"]) == "Q: how?"


def test_braces_in_question_and_passages_are_no_placeholders_and_doubled_ones_in_the_template_are_literal() -> None:
    prompt = Prompt(name="p", description="", prompt="{{json}} {passages}{question}", passage="{text} ")
    assert prompt.render("what is {passages} {0}?", ["a {question} b"]) == "{json} a {question} b what is {passages} {0}?"


def test_a_completion_is_a_space_and_the_stripped_answer() -> None:
    assert prompts.completion(" Run it.\n") == " Run it."


@pytest.mark.parametrize("path", sorted((ROOT / "data/prompts").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_template_of_the_repository_is_sound(path: Path) -> None:
    assert prompts.load(path).render("why?", ["because"]).count("why?") == 1


def test_a_saved_template_comes_back_under_the_name_with_which_it_travels(tmp_path: Path) -> None:
    prompt = Prompt(name="faq-v9", description="ä", prompt="Q: {question}\nA:", passage="")
    prompts.save(prompt, tmp_path)
    assert prompts.load(tmp_path / "prompt.yaml") == prompt


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{name: p, description: d, prompt: 'Answer:', passage: ''}", "prompt: must hold {question} once and nothing else but {passages}; it holds no placeholder"),
        ("{name: p, description: d, prompt: '{question} {question}', passage: ''}", "prompt: must hold {question} once"),
        ("{name: p, description: d, prompt: '{question} {answer}', passage: ''}", "it holds ['question', 'answer']. A literal brace is written twice"),
        ("{name: p, description: d, prompt: '{question} {}', passage: ''}", "it holds ['question', '']"),
        ("{name: p, description: d, prompt: '{question} {passages}', passage: '[{number}]'}", "passage: holds ['number']; it may hold {number} and must hold {text}"),
        ("{name: p, description: d, prompt: '{question}', passage: '{other}'}", "passage: holds ['other']"),
        ("{name: p, description: d, prompt: '{question', passage: ''}", "is no prompt template: expected '}' before end of string"),
        ("{name: q, description: d, prompt: '{question}', passage: ''}", "name: 'q' is not the file's name (p)"),
        ("{name: p, description: d, prompt: '{question}'}", "passage\n  Field required"),
        ("{name: p, description: d, prompt: '{question}', passage: '', more: 1}", "more\n  Extra inputs are not permitted"),
        ("- p", "is no prompt template: "),
        ("{", "is no prompt template: while parsing"),
    ],
)
def test_a_template_that_is_not_sound_is_told_with_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        prompts.load(tmp_path / "p.yaml")
    assert str(caught.value).startswith(f"{tmp_path}/p.yaml: ")
    assert problem in str(caught.value)


def test_a_missing_template_names_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no templates at all"):
        prompts.load(tmp_path / "p.yaml")
    (tmp_path / "b.yaml").write_text("")
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(UserError, match=r"params.yaml: examples.template: there is no .*/p.yaml; there are a, b$"):
        prompts.load(tmp_path / "p.yaml")
