"""Ask the served assistant: the answer as it is written, then its citations.

python -m pipelines ask QUESTION               what `make serve` serves, or a gateway elsewhere
                                               (ASSISTANT_URL, ASSISTANT_KEY, ASSISTANT_CA)
python -m pipelines ask --candidate QUESTION   the candidate of the last run, without a server
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines import files
from pipelines.config import params
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.generation import GenerationConfig
from pipelines.contracts.calibration import Calibration
from pipelines.contracts.receipt import Receipt
from pipelines.decision import systems
from pipelines.decision.systems import Case, Weights
from pipelines.errors import UserError
from pipelines.questions import prompts
from pipelines.questions.golden import Golden
from pipelines.runtime.readers import Groups
from pipelines.serving import client
from pipelines.serving.client import Answer, Question
from pipelines.system import group_names
from pipelines.training import answer_engine
from pipelines.vectorstore import Passage, open_retriever

BASE = Path("models/base")
ADAPTER = Path("models/adapter")
EXAMPLES = Path("data/examples")
CALIBRATION = Path("data/reports/calibration.json")
RECEIPT = Path("data/index.json")
CHUNKS = Path("data/chunks.parquet")
VECTORS = Path("data/vectors.parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question")
    parser.add_argument(
        "--candidate",
        action="store_true",
        help="ask the candidate in models/ and the index of the last run; needs no server and no "
        "release, and loads both each time",
    )
    parser.add_argument("--tenant", default="default", help="who asks, for the traffic log")
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        help="read also what this group may read (may be given several times)",
    )


def run(question: str, tenant: str, candidate: bool = False, group: Sequence[str] = ()) -> None:
    """Print the answer piece by piece, then where it comes from. Raises AskError."""
    groups = group_names.parse("--group", group)
    if candidate:
        _ask_candidate(question, groups)
        return
    for part in client.stream(Question(question, tenant=tenant, groups=groups)):
        if isinstance(part, Answer):
            _print_source(part)
        else:
            print(part, end="", flush=True)


def _print_source(answer: Answer) -> None:
    """Where the answer comes from, and how to give feedback."""
    print(
        f"\n\nrelease {answer.release_id}, request {answer.request_id}, "
        f"{answer.num_new_tokens} tokens"
    )
    for number, citation in enumerate(answer.citations, start=1):
        print(f"  [{number}] {_format_citation(citation)}")
    print(
        f"feedback: python -m pipelines feedback {answer.request_id} --who YOU --thumb up|down "
        "[--correction TEXT] [--comment TEXT]"
    )


def _format_citation(citation: dict[str, Any]) -> str:
    section = " > ".join([citation["uri"], *citation["headings"]])
    numbers = ", ".join(str(page) for page in citation["pages"])
    pages = f"   page {numbers}" if numbers else ""
    characters = f"characters {citation['start']} to {citation['end']}"
    return f"{section}{pages}   {characters} (score {citation['score']:.2f})"


def _ask_candidate(text: str, groups: Groups) -> None:
    """Answer as `evaluate` does. Raises UserError if there is no candidate or no index yet."""
    if not (ADAPTER / prompts.FILE).exists():
        raise UserError(f"{ADAPTER} holds no candidate yet: `make run` trains one")
    if not text.strip():
        raise UserError("the question is empty")
    values = params.load()
    config = values.section(EvaluateConfig)
    calibration = files.read_json(CALIBRATION, Calibration)
    facts = json.loads((EXAMPLES / "facts.json").read_text(encoding="utf-8"))
    engine = answer_engine.choose(values.section(GenerationConfig)).engine
    model = systems.candidate(Weights(BASE, ADAPTER), engine, calibration, facts["refusals"])
    passages = _retrieve(text, config.num_passages, groups)
    question = Golden(
        id="asked", question=text, expected="?", topic="asked", page=None, kind="faq", style="plain"
    )
    (reply,) = model.answer([Case(question, passages)], config)
    print(f"\n{reply.answer.text}\n")
    if reply.withheld is not None:
        print("(an answer that the passages do not support was withheld)")
    for number, passage in enumerate(passages, start=1):
        section = " > ".join([passage.uri, *passage.headings])
        print(f"  [{number}] {section} (similarity {passage.similarity:.2f})")


def _retrieve(question: str, limit: int, groups: Groups) -> list[Passage]:
    receipt = files.read_json(RECEIPT, Receipt)
    with open_retriever(receipt, CHUNKS, VECTORS) as retriever:
        return retriever.find(question, limit, groups)
