"""Golden questions with the prompts that the served assistant makes of them."""

import random
from pathlib import Path
from typing import NamedTuple

from pipelines import files
from pipelines.config import params
from pipelines.config.evaluate import EvaluateConfig
from pipelines.contracts.receipt import Receipt
from pipelines.decision import systems
from pipelines.decision.systems import Case
from pipelines.questions import golden, prompts
from pipelines.questions.golden import Golden
from pipelines.runtime import generation
from pipelines.runtime.rendering import ModelInput
from pipelines.vectorstore import open_retriever

TEMPLATE = Path("models/triton/generator/1/prompt.yaml")
BASE = Path("models/base")
GOLDEN = Path("data/golden")
QA = Path("data/qa")
RECEIPT = Path("data/index.json")
CHUNKS = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")
SEED = 7


class Request(NamedTuple):
    """A question, and its prompt with the passages that the search finds."""

    question: str
    prompt: ModelInput


def sample(count: int) -> list[Request]:
    """So many golden questions of all kinds, at most as many as there are."""
    template = prompts.load(TEMPLATE)
    questions = golden.load_all(GOLDEN, QA, template.refusal)
    random.Random(SEED).shuffle(questions)
    config = params.load().section(EvaluateConfig)
    tokenizer = generation.tokenizer_of(BASE)
    requests: list[Request] = []
    for case in _retrieve(questions[:count], config.num_passages):
        question = case.question.question
        passages = systems.prompt_texts(case.reading(0, config.num_passages))
        prompt = template.fit(question, passages, tokenizer, config.max_prompt_tokens).prompt
        requests.append(Request(question, prompt))
    return requests


def _retrieve(questions: list[Golden], num_passages: int) -> list[Case]:
    receipt = files.read_json(RECEIPT, Receipt)
    cases: list[Case] = []
    with open_retriever(receipt, CHUNKS, VECTORS) as retriever:
        retriever.prepare([question.question for question in questions], num_passages)
        for question in questions:
            cases.append(Case(question, retriever.find(question.question, num_passages)))
    return cases
