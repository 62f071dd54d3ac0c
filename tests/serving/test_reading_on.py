"""A release that reads the next passages if the best ones do not answer, asked in a real Triton."""

import shutil
import statistics
from dataclasses import replace
from pathlib import Path

from pipelines import vectorstore
from pipelines.contracts.receipt import Receipt
from pipelines.decision.systems import Case, Model, Reply
from pipelines.questions import prompts
from pipelines.questions.golden import Golden
from pipelines.questions.prompts import Prompt
from pipelines.runtime.withholding import Limits
from pipelines.serving import client, live_routes, live_server, model_repository
from pipelines.vectorstore import locate_encoder, open_retriever
from tests import made_guard
from tests.serving.conftest import (
    ENCODER,
    EVALUATE,
    EXPORT,
    QUESTIONS,
    SERVE,
    change_settings,
)

REFUSAL = "Not in the documents."
TEMPLATE = Prompt(
    name="reads-v1",
    description="",
    prompt="{passages}Question: {question}\nAnswer:",
    passage="{text}\n",
    refusal=REFUSAL,
)
CONFIG = EVALUATE.model_copy(
    update={"num_passages": 1, "max_readings": 3, "max_prompt_tokens": 1000}
)


def test_a_release_reads_on_as_evaluation_does(serving: Path, models: Path, tmp_path: Path) -> None:
    models = Path(shutil.copytree(models, tmp_path / "models"))
    prompts.save(TEMPLATE, models / "adapter")
    receipt = vectorstore.build_index(
        models / "chunks.parquet", models / "vectors.parquet", keep=3, sample=4, hybrid_alpha=0.7
    )
    cases = find_cases(receipt, models)
    everything = Model(
        name="candidate",
        base=models / "base",
        adapter=models / "adapter",
        template=TEMPLATE,
        engine="openvino",
        limits=None,
        refusals=(REFUSAL,),
    )
    sureness = [reply.answer.mean_log_probability for reply in everything.answer(cases, CONFIG)]
    limits = Limits(REFUSAL, min_support=0.0, min_log_probability=statistics.median(sureness))
    candidate = replace(everything, limits=limits, max_readings=3)
    expected = candidate.answer(cases, CONFIG)
    readings = [number_of_reading(*pair) for pair in zip(cases, expected, strict=True)]
    assert 0 in readings
    assert 1 in readings

    export(models, receipt, limits)
    with (
        vectorstore.server_address() as environment,
        live_server.hold(SERVE, ["r-reads"], environment),
    ):
        live_routes.write([("r-reads", 1.0)])
        for case, reply in zip(cases, expected, strict=True):
            answer = client.ask(case.question.question)
            assert answer.text == reply.answer.text
            chunk_ids = [citation["chunk_id"] for citation in answer.citations]
            assert chunk_ids == [passage.chunk_id for passage in reply.passages]
            assert answer.num_prompt_tokens == reply.answer.num_prompt_tokens
            assert answer.is_refusal == (reply.answer.text == REFUSAL)


def find_cases(receipt: Receipt, models: Path) -> list[Case]:
    cases: list[Case] = []
    chunks, vectors = models / "chunks.parquet", models / "vectors.parquet"
    with open_retriever(receipt, chunks, vectors) as retriever:
        for number, question in enumerate(QUESTIONS):
            golden = Golden(
                id=f"q-{number:02}",
                question=question,
                expected="Yes.",
                topic="documents",
                page="a.md",
                kind="document",
                style="plain",
            )
            cases.append(Case(golden, retriever.find(question, CONFIG.top_k)))
    return cases


def number_of_reading(case: Case, reply: Reply) -> int | None:
    """The reading that answered; None: the question was refused."""
    if reply.answer.text == REFUSAL:
        return None
    return case.passages.index(reply.passages[0])


def export(models: Path, receipt: Receipt, limits: Limits) -> None:
    parts = model_repository.Parts(
        models / "base",
        models / "adapter",
        locate_encoder(ENCODER, None),
        receipt,
        TEMPLATE,
        [REFUSAL],
        "openvino",
        limits=limits,
        guard=made_guard.make(receipt.encoder.digest, receipt.dimensions),
    )
    target = Path("export")
    model_repository.write(EXPORT, CONFIG, parts, target)
    model_repository.name(target, EXPORT.version, "r-reads")
    # A passage and the question together are longer than the tiny assistant's prompts.
    change_settings(target / "generator/1/settings.json", max_prompt_tokens=1000)
    live_server.install(target, "r-reads")
    vectorstore.point_alias(live_server.alias("r-reads"), receipt.collection)
