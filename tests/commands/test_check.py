"""`check` on a copy of this repository's files: as shipped, and with every kind of fault."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import files
from pipelines.commands import check
from pipelines.contracts.base_receipt import BaseReceipt
from pipelines.errors import UserError
from pipelines.training import base_model
from tests.gateway import issuers

ROOT = Path(__file__).parents[2]
FILES = ("params.yaml", "dvc.yaml", "data/overrides.yaml", "models/champion.json")
FOLDERS = (
    "data/faq",
    "data/golden",
    "data/guards",
    "data/qa",
    "data/prompts",
    "data/scenarios",
    "data/raw/handbook",
    "infra/requirements",
)
RECEIPT = BaseReceipt(
    source="made",
    revision=None,
    licence=None,
    architecture="LlamaForCausalLM",
    num_parameters=1,
    vocabulary_size=400,
    max_positions=2048,
    has_chat_template=False,
    end_tokens=["</s>"],
)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What people write in this repository, in a Git repository that is the current folder."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "models").mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit_params(change: Callable[[dict[str, Any]], None]) -> None:
    path = Path("params.yaml")
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def edit_golden(name: str, number: int, **changes: Any) -> None:
    path = Path(f"data/golden/{name}.jsonl")
    lines = path.read_text().splitlines()
    lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), **changes})
    path.write_text("\n".join(lines) + "\n")


def edit_topic(name: str, **changes: Any) -> None:
    path = Path(f"data/faq/{name}.yaml")
    topics = yaml.safe_load(path.read_text())
    topics[0].update(changes)
    path.write_text(yaml.safe_dump(topics, allow_unicode=True))


def check_problems() -> list[str]:
    with pytest.raises(UserError) as caught:
        check.run()
    return str(caught.value).splitlines()


def assert_each(problems: list[str], essentials: list[tuple[str, ...]]) -> None:
    """Every tuple of words is in a problem of its own, and there are no other problems."""
    for words in essentials:
        matches = [line for line in problems if all(word in line for word in words)]
        assert len(matches) == 1, f"{words} in {problems}"
    assert len(problems) == len(essentials), problems


def test_the_repository_as_shipped_is_good(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    check.run()
    output = capsys.readouterr().out
    assert "params.yaml: good" in output
    assert "data/faq, data/golden, data/qa, data/scenarios: every page is a document" in output


def test_every_fault_is_reported_at_once(copy: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        source = {"kind": "files", "name": "mine", "path": "data/raw/mine", "globs": ["*.md"]}
        values["ingest"]["sources"].append(source)
        values["base"].update(source="models/mine", revision=None)
        values["gate"]["min_questions"] = 1000
        values["gate"]["floors"]["exact_match"] = 1.5
        values["evaluate"]["num_passages"] = 0
        values["examples"]["template"] = "grounded-v1"
        values["encoder"]["model"] = "organisation/encoder"

    edit_params(change)
    edit_topic("chunking", page="handbook/Chunking.md")
    edit_topic("gate", answer="Ask ada@lovelace.dev about it.")
    edit_golden("doctor", 1, expected="Something else.")
    edit_golden("doctor", 2, topic="doctor.unknown")
    copied_question = json.loads(Path("data/golden/setup.jsonl").read_text().splitlines()[0])
    questions = [f"number {number} is how many" for number in range(12)]
    edit_topic("setup", questions=[copied_question["question"], *questions])
    Path("data/scenarios/mine.yaml").write_text(
        Path("data/scenarios/steady.yaml").read_text().replace("page: null", "page: handbook/x.md")
    )
    Path("data/overrides.yaml").write_text(
        "- {candidate: 0123456789ab, rules: [floor exct_match], who: ada, why: w, "
        "until: 2999-01-31}\n"
    )
    Path("data/prompts/broken.yaml").write_text("name: broken")

    problems = check_problems()

    text = "\n".join(problems)
    for words in (
        "ingest.sources: source mine: the folder data/raw/mine is missing",
        "params.yaml: base.source: 'models/mine'",
        "params.yaml: gate.min_questions: 1000",
        "params.yaml: gate.floors.exact_match: 1.5",
        "params.yaml: evaluate.num_passages: 0, but the template grounded-v1",
        "params.yaml: encoder: organisation/encoder is not a folder here",
        "page: 'handbook/Chunking.md' is none of the",
        "did you mean 'handbook/chunking.md'?",
        "holds personal data (EMAIL_ADDRESS 'ada@lovelace.dev')",
        r"redact.allow the regular expression 'ada@lovelace\.dev'",
        "data/golden/doctor.jsonl:1: expected: 'Something else.' is not the answer of its topic",
        "data/golden/doctor.jsonl:2: topic: 'doctor.unknown' is not in the FAQ",
        "is worded like the golden question",
        "data/scenarios/mine.yaml: page: 'handbook/x.md'",
        "data/overrides.yaml: candidate 0123456789ab: rules: the gate has no rule",
        "data/prompts/broken.yaml: is not a prompt template",
    ):
        assert words in text, f"{words!r} is not in:\n{text}"


def test_own_documents_with_the_sample_faq_are_told_so(copy: Path) -> None:
    source = {"kind": "files", "name": "mine", "path": "data/raw/mine", "globs": ["*.md"]}
    edit_params(lambda values: values["ingest"].update(sources=[source]))
    files.write_text(Path("data/raw/mine/a.md"), "# Holidays\n\nThere are thirty days a year.\n")
    assert_each(
        check_problems(),
        [
            ("data/faq: page: no page of the FAQ is among your documents", "mine/a.md"),
            ("data/golden: page: no page of your golden set is among your documents",),
            ("data/qa: page: no page of your questions about documents is among your documents",),
            ("data/scenarios/new-topic.yaml: page: 'handbook/multi-device.md'",),
            ("params.yaml: validate.min_documents: 10, but the sources hold 1 documents",),
        ],
    )


def test_the_rest_is_checked_although_params_yaml_is_not_good(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_params(lambda values: values["gate"].update(min_qestions=1))
    edit_golden("doctor", 1, kind="other")
    problems = check_problems()
    assert "gate.min_qestions: no such key. Did you mean `min_questions`?" in problems[0]
    assert problems[1].startswith("data/golden/doctor.jsonl:1: kind: Input should be 'faq'")
    assert len(problems) == 2
    assert "not checked before params.yaml is good" in capsys.readouterr().out


def test_the_issuer_of_tokens_is_named_and_not_asked(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    issuer = "https://login.example.com"
    section = issuers.settings(issuer)
    edit_params(lambda values: values["gateway"].update(oidc=section))
    check.run()
    lines = capsys.readouterr().out.splitlines()
    assert f"params.yaml: gateway.oidc: tokens of {issuer} for assistant" in lines
    assert any(line.startswith(f"not checked: whether {issuer} answers") for line in lines)
    edit_params(lambda values: values["gateway"]["oidc"].update(issuer="http://login.example.com"))
    with pytest.raises(UserError, match="gateway.oidc.issuer: must begin with https"):
        check.run()


def test_a_package_that_the_gate_would_refuse_is_a_warning_before_a_training(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_params(lambda values: values["gate"]["package_exceptions"].pop("torchao"))
    check.run()
    [line] = [line for line in capsys.readouterr().out.splitlines() if "torchao" in line]
    assert line.startswith("warning: the gate will refuse: licences of packages are allowed: ")
    assert "not allowed: torchao==0.18.0 (not stated)" in line


def test_lengths_are_checked_with_the_tokenizer_of_the_base_model_that_is_here(copy: Path) -> None:
    tokenizer = base_model.train_tokenizer(["where is the file with this number? " * 40], 400)
    tokenizer.save_pretrained("models/base")
    files.write_json(Path("models/base/receipt.json"), RECEIPT)

    def change(values: dict[str, Any]) -> None:
        values["base"].update(source="made", revision=None)
        values["examples"]["template"] = "faq-v1"
        values["gate"]["floors"] = {"exact_match": 0.6}
        values["gate"]["champion_metrics"] = ["exact_match"]
        values["finetune"]["max_tokens"] = 64
        values["evaluate"]["max_new_tokens"] = 32

    edit_params(change)
    assert_each(
        check_problems(),
        [
            ("params.yaml: finetune.max_tokens: 64, but", "The longest has", "Set it to"),
            ("data/faq/", "answer: has", "evaluate.max_new_tokens (32)"),
        ],
    )


def test_a_template_for_chat_models_is_refused_for_the_made_model(copy: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values["base"].update(source="made", revision=None)
        values["examples"]["template"] = "grounded-chat-v1"

    edit_params(change)
    essential = ("data/prompts/grounded-chat-v1.yaml: messages:", "has no chat template: name a")
    assert_each(check_problems(), [essential])


def test_the_command_ends_with_1_and_no_traceback(copy: Path) -> None:
    edit_golden("doctor", 1, expected="Something else.")
    process = subprocess.run(
        [sys.executable, "-m", "pipelines", "check"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 1
    assert "data/golden/doctor.jsonl:1: expected: 'Something else.'" in process.stderr
    assert "Traceback" not in process.stderr
    assert "params.yaml: good" in process.stdout


def test_a_run_whose_gate_no_model_could_pass_does_not_start(copy: Path) -> None:
    edit_params(lambda values: values["gate"].update(min_questions=1000))
    process = subprocess.run(
        [sys.executable, "-m", "pipelines", "run"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 1
    assert "params.yaml: gate.min_questions: 1000, but data/golden has" in process.stderr
    assert "Running stage" not in process.stdout
