"""The candidate of this checkout, asked as its release would be, and what its answers are worth."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines import files
from pipelines.config import params
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.generation import GenerationConfig
from pipelines.contracts.calibration import Calibration
from pipelines.contracts.receipt import Receipt
from pipelines.decision import systems
from pipelines.decision.answer_rows import Scorer
from pipelines.decision.systems import AnswerSettings, Case, Model, Weights
from pipelines.questions.golden import Golden
from pipelines.training import answer_engine
from pipelines.vectorstore import Encoder, load_encoder, locate_encoder, open_retriever

BASE = Path("models/base")
ADAPTER = Path("models/adapter")
FACTS = Path("data/examples/facts.json")
CALIBRATION = Path("data/reports/calibration.json")
RECEIPT = Path("data/index.json")
CHUNKS = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")


class Candidate(NamedTuple):
    """The trained model with its limits, and what scores its answers."""

    model: Model
    encoder: Encoder
    scorer: Scorer
    config: EvaluateConfig

    @property
    def refusal(self) -> str:
        """What it says where no passage answers."""
        return self.model.template.refusal or ""


def open_candidate() -> Candidate:
    """Skips the test if this checkout has not been run as far as `calibrate`."""
    for path in (BASE, ADAPTER, FACTS, CALIBRATION, RECEIPT, CHUNKS, VECTORS):
        if not path.exists():
            pytest.skip(f"{path} is absent: run `dvc repro calibrate` first")
    values = params.load()
    config = values.section(EvaluateConfig)
    calibration = files.read_json(CALIBRATION, Calibration)
    refusals = json.loads(FACTS.read_text(encoding="utf-8"))["refusals"]
    choice = answer_engine.choose(values.section(GenerationConfig))
    print(f"\n{choice.reason}")
    settings = AnswerSettings(refusals, config.max_readings)
    model = systems.candidate(Weights(BASE, ADAPTER), choice.engine, calibration, settings)
    if model.template.refusal is None:
        pytest.skip(f"the template {model.template.name} shows no passages: nothing is read")
    encoder = _load_encoder(files.read_json(RECEIPT, Receipt))
    scorer = Scorer(config, encoder, refusals, calibration.min_support)
    return Candidate(model, encoder, scorer, config)


def _load_encoder(receipt: Receipt) -> Encoder:
    folder = locate_encoder(receipt.encoder.model, receipt.encoder.revision)
    return load_encoder(folder, receipt.encoder.engine, receipt.encoder.precision)


class KnowledgeFiles(NamedTuple):
    """A receipt, and the files from which its index can be rebuilt."""

    receipt: Path
    chunks: Path
    vectors: Path


def retrieve(
    candidate: Candidate, questions: list[Golden], knowledge: KnowledgeFiles
) -> list[Case]:
    """The questions, each with what the product's search retrieves for it."""
    receipt = files.read_json(knowledge.receipt, Receipt)
    cases: list[Case] = []
    with open_retriever(receipt, knowledge.chunks, knowledge.vectors) as retriever:
        top_k = candidate.config.top_k
        retriever.prepare([question.question for question in questions], top_k)
        for question in questions:
            passages = retriever.find(question.question, top_k)
            cases.append(Case(question, passages))
    return cases
