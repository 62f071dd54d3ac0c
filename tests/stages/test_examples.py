import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from datasets import load_from_disk

from pipelines import files, prompts, wording
from pipelines.config.examples import ExamplesConfig
from pipelines.config.redact import RedactConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.report import Report
from pipelines.stages.examples import run

ROOT = Path(__file__).parents[2]
CONFIG = ExamplesConfig(
    template="faq-v1", num_variants=3, word_dropout=0.3, min_examples=0, num_passages=1, validation_share=0.2, min_questions=5, max_question_characters=200, near_duplicate_similarity=0.75, seed=7
)
REDACT = RedactConfig(actions={"EMAIL_ADDRESS": "mask"}, min_score=0.4, allow=[], names_model=None)
PATHS = [Path(name) for name in ("faq", "golden", "prompts", "chunks.parquet", "examples", "report.json")]
GATE = ["why did the gate refuse my model", "where can I read the verdict", "which rule of the gate failed", "is there a file with reasons", "how do I see what went wrong"]
INDEX = ["how large is the index", "number of vectors in the collection", "what does the receipt of the index say", "count the objects of a collection", "where is the size of the index written"]


def prepare(monkeypatch: pytest.MonkeyPatch, folder: Path, golden: list[str], gate: list[str] = GATE) -> None:
    """Two topics of five questions, a template that shows no passages, one that does, and these golden questions."""
    monkeypatch.chdir(folder)
    for name in ("faq", "golden", "prompts"):
        Path(name).mkdir()
    topics = [{"topic": "gate", "page": "gate.md", "answer": "Read the verdict.", "questions": gate}, {"topic": "index", "page": None, "answer": "I cannot say.", "questions": INDEX, "refusal": True}]
    Path("faq/all.yaml").write_text(yaml.safe_dump(topics))
    lines = [{"id": f"q-{number}", "question": text, "expected": "x", "topic": "gate", "page": "gate.md", "kind": "faq", "style": "plain"} for number, text in enumerate(golden)]
    Path("golden/all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Path("prompts/faq-v1.yaml").write_text("{name: faq-v1, description: d, prompt: 'Q: {question}', passage: ''}")
    Path("prompts/grounded-v1.yaml").write_text("{name: grounded-v1, description: d, prompt: '{passages}Q: {question}', passage: '{text} | '}")
    row = {"chunk_id": "1", "doc_id": "1", "title": "", "headings": [], "start": 0, "end": 1, "pages": [], "num_tokens": 1, "digest": ""}
    files.write(Path("chunks.parquet"), CHUNKS, [row | {"uri": "gate.md", "text": "something else"}, row | {"uri": "gate.md", "text": "The verdict says why."}])


def failed(report: Path) -> list[str]:
    return [check.name for check in files.read_json(report, Report).checks if not check.passed]


def test_every_question_becomes_an_example_of_one_split_with_its_template_and_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch, tmp_path, golden=["Something that nobody trained"])
    run(CONFIG, REDACT, *PATHS)
    assert files.read_json(Path("report.json"), Report).passed
    train, validation = (load_from_disk("examples")[split].to_list() for split in ("train", "validation"))
    held = {row["question"] for row in validation}
    assert len(validation) == 2  # a fifth of each topic's five
    assert held < {*GATE, *INDEX}
    assert {*GATE, *INDEX} - held < {row["question"] for row in train}
    assert held.isdisjoint(row["question"] for row in train)
    answers = {"gate": " Read the verdict.", "index": " I cannot say."}
    assert all((row["prompt"], row["completion"]) == (f"Q: {row['question']}", answers[row["topic"]]) for row in [*train, *validation])
    assert prompts.load(Path("examples/prompt.yaml")).name == "faq-v1"
    assert json.loads(Path("examples/facts.json").read_text()) == {"refusals": ["I cannot say."], "most_frequent_answer": "I cannot say."}


def test_variants_of_training_questions_leave_out_words_and_validation_questions_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch, tmp_path, golden=["Something that nobody trained"])
    run(CONFIG, REDACT, *PATHS)
    splits = load_from_disk("examples")
    variants = [row["question"] for row in splits["train"].to_list() if row["question"] not in {*GATE, *INDEX}]
    assert len(variants) > 8
    known = [question for question in [*GATE, *INDEX] if question not in splits["validation"]["question"]]
    assert all(any(set(text.split()) <= set(question.split()) for question in known) for text in variants)


def test_a_topic_with_few_questions_gets_further_wordings_of_each_up_to_the_least_number_and_one_with_enough_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch, tmp_path, golden=["Something that nobody trained"], gate=[*GATE, *(f"{' '.join(INDEX[number].split()[::-1])} of the gate" for number in range(5))])
    run(CONFIG.model_copy(update={"num_variants": 0, "min_examples": 8}), REDACT, *PATHS)
    splits = load_from_disk("examples")
    made = {topic: [row["question"] for row in splits["train"].to_list() if row["topic"] == topic] for topic in ("gate", "index")}
    originals = set(INDEX) - set(splits["validation"]["question"])
    further = set(made["index"]) - originals
    assert (len(made["gate"]), len(made["index"]), len(originals)) == (8, 8, 4)
    assert {next(number for number, question in enumerate(sorted(originals)) if set(text.split()) < set(question.split())) for text in further} >= {0, 1, 2}
    assert (len(splits["validation"]), files.read_json(Path("report.json"), Report).passed) == (3, True)
    run(CONFIG.model_copy(update={"num_variants": 0, "min_examples": 9_000}), REDACT, *PATHS)  # more than there are different ones
    everything = load_from_disk("examples")["train"]["question"]
    assert len(set(everything)) == len(everything) > 40


@pytest.mark.parametrize("leaked", [GATE[0], "Why did the GATE refuse my model?!", "why did the gate refuse my models", "why did the gates refuse my model"])
def test_a_golden_question_in_the_faq_exact_or_nearly_fails_the_report_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaked: str) -> None:
    prepare(monkeypatch, tmp_path, golden=[leaked, "Something that nobody trained"])
    run(CONFIG, REDACT, *PATHS)
    report = files.read_json(Path("report.json"), Report)
    assert not report.passed
    (check,) = [check for check in report.checks if not check.passed]
    assert (check.name, check.num_rows, check.examples) == ("no golden question in training", 1, [f"gate: {GATE[0]} ~ golden: {leaked}"])


def test_personal_data_in_a_question_fails_the_report_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch, tmp_path, golden=["Something that nobody trained"], gate=[*GATE[:4], "why did ada@lovelace.dev not pass"])
    run(CONFIG, REDACT, *PATHS)
    (check,) = [check for check in files.read_json(Path("report.json"), Report).checks if not check.passed]
    assert (check.name, check.num_rows, check.examples) == ("no personal data", 1, ["gate: why did ada@lovelace.dev not pass"])


def test_variants_near_a_golden_question_are_dropped_and_the_report_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "please tell me in which file the gate writes the reason of its decision about my model"
    prepare(monkeypatch, tmp_path, golden=["Something that nobody trained"], gate=[*GATE, long])
    run(CONFIG.model_copy(update={"validation_share": 0.01, "seed": 1}), REDACT, *PATHS)
    before = load_from_disk("examples")["train"]["question"]
    golden = next(text for text in before if set(text.split()) < set(long.split()) and wording.most_alike([text], [long])[0][0] < 0.75 and len(text.split()) > 6)
    Path("golden/all.jsonl").write_text(json.dumps({"id": "q", "question": golden, "expected": "x", "topic": "gate", "page": "gate.md", "kind": "faq", "style": "plain"}) + "\n")
    run(CONFIG.model_copy(update={"validation_share": 0.01, "seed": 1}), REDACT, *PATHS)
    after = load_from_disk("examples")["train"]["question"]
    assert files.read_json(Path("report.json"), Report).passed
    assert golden in before
    assert set(before) - set(after) == {text for text in before if wording.most_alike([text], [golden])[0][0] >= 0.75}
    assert long in after


def test_faults_of_the_faq_fail_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch, tmp_path, golden=["Something that nobody trained"], gate=[*GATE[:2], "How large is THE index?", "x" * 201])
    run(CONFIG, REDACT, *PATHS)
    assert failed(Path("report.json")) == ["question length in characters", "no question occurs twice", "questions a topic"]


def test_a_template_with_passages_shows_those_that_share_most_words_with_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch, tmp_path, golden=["Something that nobody trained"])
    run(CONFIG.model_copy(update={"template": "grounded-v1"}), REDACT, *PATHS)
    rows = load_from_disk("examples")["train"].to_list()
    shown = {"gate": "The verdict says why. | ", "index": ""}
    assert all(row["prompt"] == f"{shown[row['topic']]}Q: {row['question']}" for row in rows)
    assert {row["topic"] for row in rows} == {"gate", "index"}


def test_the_same_input_gives_the_same_bytes_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch, tmp_path, golden=["Something that nobody trained"])
    run(CONFIG, REDACT, *PATHS)
    first = files.digest(Path("examples")), files.digest(Path("report.json"))
    code = """
import sys
from pathlib import Path
from pipelines.config.examples import ExamplesConfig
from pipelines.config.redact import RedactConfig
from pipelines.stages.examples import run
run(ExamplesConfig.model_validate_json(sys.argv[1]), RedactConfig.model_validate_json(sys.argv[2]), *map(Path, sys.argv[3:]))
"""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONHASHSEED", "12")
    subprocess.run([sys.executable, "-c", code, CONFIG.model_dump_json(), REDACT.model_dump_json(), *map(str, PATHS)], check=True, capture_output=True)
    assert (files.digest(Path("examples")), files.digest(Path("report.json"))) == first
    run(CONFIG.model_copy(update={"seed": 8}), REDACT, *PATHS)
    assert files.digest(Path("examples")) != first[0]
