"""Check params.yaml, sources, base model, FAQ, golden set, prompts and overrides; runs nothing.

All problems are reported at once, each with its file and line or key, its value and what to do.
What can be told only after a stage has run is said to be unchecked.
"""

import datetime
import importlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipelines import files, graph
from pipelines.adoption import sets
from pipelines.config import params
from pipelines.config.base import BaseConfig
from pipelines.config.encoder import EncoderConfig
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.examples import ExamplesConfig
from pipelines.config.export import ExportConfig
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.gate import GateConfig
from pipelines.config.gateway import GatewayConfig
from pipelines.config.generation import GenerationConfig
from pipelines.config.ingest import IngestConfig
from pipelines.config.params import Params
from pipelines.config.redact import RedactConfig
from pipelines.config.validate import ValidateConfig
from pipelines.contracts.base_receipt import BaseReceipt
from pipelines.contracts.documents import DOCUMENTS as DOCUMENTS_SCHEMA
from pipelines.corpus import catalogue, pii
from pipelines.corpus.catalogue import Catalogue
from pipelines.decision import (
    champions,
    gate_overrides,
    gate_settings,
    ledger,
    licence_rules,
    question_counts,
    rules,
)
from pipelines.drafting import drafts
from pipelines.errors import UserError, demand_none
from pipelines.questions import (
    consistency,
    evidence,
    guard_texts,
    mentions,
    prompts,
    reading_set,
    reviews,
    scenarios,
)
from pipelines.questions import golden as golden_set
from pipelines.questions.consistency import Questions
from pipelines.questions.golden import Golden
from pipelines.questions.mentions import Documents, Mention
from pipelines.runtime import generation
from pipelines.system import locked_packages
from pipelines.training import answer_engine, base_facts, base_sources, lengths
from pipelines.vectorstore import locate_encoder

RAW = Path("data/raw")
FAQ = Path("data/faq")
GOLDEN = Path("data/golden")
QA = Path("data/qa")
PROMPTS = Path("data/prompts")
GUARDS = Path("data/guards")
SCENARIOS = Path("data/scenarios")
OVERRIDES = Path("data/overrides.yaml")
CHAMPION = Path("models/champion.json")
DOCUMENTS = Path("data/documents.parquet")
REJECTIONS = Path("data/rejections.parquet")
BASE = Path("models/base")
REQUIREMENTS = Path("infra/requirements")
PACKAGE_LISTS = [REQUIREMENTS / name for name in ("pipeline.txt", "models.txt", "triton.txt")]
LICENCES = REQUIREMENTS / "licences.json"
Value = TypeVar("Value")


class Result(NamedTuple):
    """What a check says: its problems, or else a line about what is good."""

    problems: Sequence[str]
    summary: str
    gap: str = ""  # what it could not tell
    warnings: Sequence[str] = ()  # what works, but not as well as it looks


def run() -> None:
    """Print a line for each subject that is good. Raises UserError with all problems."""
    questions = consistency.read(FAQ, GOLDEN, QA)
    problems: list[str] = []
    values = _attempt(params.load, problems)
    if values is None:
        print("not checked before params.yaml is good: all that depends on it")
    else:
        print("params.yaml: good")
        for result in _results_by_params(values, questions):
            problems += _show(result)
    for result in (_adoption(), _records(), _questions(questions), _guards()):
        problems += _show(result)
    demand_none(dict.fromkeys(problems))


def _attempt(function: Callable[[], Value], problems: list[str]) -> Value | None:
    """What the function returns; None, and its problem added, if it raises UserError."""
    try:
        return function()
    except UserError as error:
        problems.append(str(error))
        return None


def _show(result: Result) -> Sequence[str]:
    """Print the result's line; returns its problems."""
    if result.summary and not result.problems:
        print(result.summary)
    for warning in result.warnings:
        print(f"warning: {warning}")
    if result.gap:
        print(f"not checked: {result.gap}")
    return result.problems


def _results_by_params(values: Params, questions: Questions) -> list[Result]:
    sources = values.section(IngestConfig).sources
    documents = catalogue.read(sources, DOCUMENTS, REJECTIONS)
    return [
        _stages(values),
        _sources(values, documents),
        _pages(values, questions, documents),
        _encoder(values.section(EncoderConfig)),
        _evidence(questions, documents),
        *_base_and_lengths(values, questions),
        _prompts(values),
        _engine(values),
        _training_questions(values, questions),
        _gate(values, questions),
        _packages(values.section(GateConfig)),
        _token_issuer(values.section(GatewayConfig)),
    ]


def _stages(values: Params) -> Result:
    """Stages that name an unknown section, have two artifacts of one name, or have no module."""
    problems: list[str] = []
    stages = _attempt(graph.read, problems) or {}
    for stage in stages.values():
        _attempt(stage.inputs, problems)
        _attempt(stage.outputs, problems)
        for section in stage.params:
            _attempt(partial(values.named, section), problems)
        _attempt(partial(_import_stage, stage.name), problems)
    return Result(problems, f"dvc.yaml: {len(stages)} stages")


def _import_stage(name: str) -> None:
    module = f"pipelines.stages.{name}"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(
            f"dvc.yaml: stage {name} has no module: write pipelines/stages/{name}.py"
        ) from error


def _sources(values: Params, documents: Catalogue) -> Result:
    gap = ""
    if not documents.is_ingested:
        gap = (
            "whether each document can be read, and which are near-duplicates, until `ingest` and "
            "`redact` have run on what the sources hold today"
        )
    min_documents = values.section(ValidateConfig).min_documents
    problems = [*documents.problems, *catalogue.size_problems(documents, min_documents)]
    summary = f"params.yaml: ingest.sources: {len(documents.uris)} documents"
    return Result(problems, summary, gap)


def _pages(values: Params, questions: Questions, available: Catalogue) -> Result:
    documents = Documents(available.uris, available.reasons, available.unreadable_sources)
    problems = mentions.problems(questions, documents, reads=_shows_passages(values))
    pages: list[Mention] = []
    for name in scenarios.names(SCENARIOS):
        scenario = _attempt(partial(scenarios.load, SCENARIOS, name), problems)
        if scenario is not None and scenario.page is not None:
            pages.append(Mention(f"{SCENARIOS}/{name}.yaml", scenario.page))
    problems += mentions.page_problems(pages, documents)
    names = ", ".join(sorted(available.unreadable_sources))
    if names:
        return Result(problems, "", f"pages of {names}, whose documents cannot be listed")
    return Result(problems, f"{FAQ}, {GOLDEN}, {QA}, {SCENARIOS}: every page is a document")


def _shows_passages(values: Params) -> bool:
    """Whether the template in use does; one that cannot be read is reported elsewhere."""
    template = _attempt(partial(prompts.load, _template_path(values)), [])
    return template is not None and template.shows_passages


def _evidence(questions: Questions, available: Catalogue) -> Result:
    """Whether the documents still say what questions about them quote."""
    if not available.is_ingested or _has_newer_documents():
        return Result([], "", f"the evidence in {QA}, until `ingest` and `redact` have run")
    texts: dict[str, str] = {}
    for batch in files.batches(DOCUMENTS, DOCUMENTS_SCHEMA, columns=["uri", "text"]):
        for row in batch.to_pylist():
            texts[row["uri"]] = row["text"]
    problems = evidence.problems(questions.documents, texts)
    count = evidence.count(questions.documents, texts)
    return Result(problems, f"{QA}: the evidence of {count} questions stands in their documents")


def _has_newer_documents() -> bool:
    """Whether a document was written after the last `ingest` read them."""
    ingested = DOCUMENTS.stat().st_mtime
    for folder in (RAW, FAQ):
        if any(path.stat().st_mtime > ingested for path in folder.rglob("*") if path.is_file()):
            return True
    return False


def _guards() -> Result:
    problems: list[str] = []
    texts = _attempt(partial(guard_texts.load, GUARDS), problems)
    if texts is None:
        return Result(problems, "")
    summary = f"{GUARDS}: {len(texts.attacks)} attacks, {len(texts.harmless)} harmless texts"
    return Result(problems, summary)


def _encoder(config: EncoderConfig) -> Result:
    """A hub id with its revision is downloaded by `chunk`, not here."""
    problems: list[str] = []
    summary = f"params.yaml: encoder.model: {config.model}"
    if config.revision is not None and not Path(config.model).is_dir():
        return Result(problems, summary, f"the encoder {config.model}: `chunk` looks at it")
    _attempt(partial(locate_encoder, config.model, config.revision), problems)
    return Result(problems, summary)


def _base_and_lengths(values: Params, questions: Questions) -> list[Result]:
    config = values.section(BaseConfig)
    problems: list[str] = []
    summary = _attempt(partial(base_sources.check, config), problems)
    results = [Result(problems, f"base model: {summary}")]
    folder = _tokenizer_folder(config)
    if problems or folder is None:
        gap = (
            "finetune.max_tokens and evaluate.max_new_tokens, which need the base model's "
            "tokenizer: `base` brings it, and `finetune` looks before it starts"
        )
        return [*results, Result([], "", gap)]
    return [*results, _lengths(folder, values, questions)]


def _tokenizer_folder(config: BaseConfig) -> Path | None:
    """The folder of the configured model, if it is here without unpacking or training anything."""
    if Path(config.source).is_dir():
        return Path(config.source)
    path = BASE / base_facts.RECEIPT
    if not path.exists():
        return None
    # A receipt of an older version of the code tells nothing; `base` writes a new one.
    receipt = _attempt(partial(files.read_json, path, BaseReceipt), [])
    return BASE if receipt is not None and receipt.source == config.source else None


def _lengths(folder: Path, values: Params, questions: Questions) -> Result:
    """The FAQ's own questions; variants of them are shorter."""
    path = _template_path(values)
    problems: list[str] = []
    template = _attempt(partial(prompts.load, path), problems)
    if template is None:
        return Result(problems, "")
    try:
        tokenizer = generation.tokenizer_of(folder)
    # A tokenizer's files are read by several libraries with errors of their own.
    except Exception as error:
        return Result([f"params.yaml: base.source: its tokenizer cannot be loaded: {error}"], "")
    _attempt(partial(prompts.check_tokenizer, path, template, tokenizer), problems)
    if problems:
        return Result(problems, "")
    answers: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for topic in questions.faq.topics:
        answer = template.completion(topic.answer)
        answers[questions.faq.labels[topic.topic]] = answer
        for question in topic.questions:
            prompt = template.render(question, [])
            row = {"topic": topic.topic, "question": question, "prompt": prompt}
            rows.append({**row, "completion": answer})
    max_tokens = values.section(FinetuneConfig).max_tokens
    max_new_tokens = values.section(EvaluateConfig).max_new_tokens
    problems += lengths.example_problems(tokenizer, rows, max_tokens)
    problems += lengths.answer_problems(tokenizer, answers, max_new_tokens)
    gap = ""
    if template.shows_passages:
        gap = "finetune.max_tokens with passages: `finetune` looks before it starts"
    return Result(problems, f"tokens: every example and answer fits ({folder})", gap)


def _template_path(values: Params) -> Path:
    return PROMPTS / f"{values.section(ExamplesConfig).template}.yaml"


def _prompts(values: Params) -> Result:
    examples = values.section(ExamplesConfig)
    num_passages = {
        "examples.num_passages": examples.num_passages,
        "evaluate.num_passages": values.section(EvaluateConfig).num_passages,
    }
    problems = [*consistency.prompt_problems(PROMPTS, examples.template, num_passages)]
    path = _template_path(values)
    is_made = values.section(BaseConfig).source == base_sources.FROM_SCRATCH.source
    if not problems and is_made and prompts.load(path).messages is not None:
        problems.append(prompts.no_chat_template(path))
    return Result(problems, f"{PROMPTS}: good, {examples.template} is in use")


def _engine(values: Params) -> Result:
    problems: list[str] = []
    choice = _attempt(partial(answer_engine.choose, values.section(GenerationConfig)), problems)
    if choice is None:
        return Result(problems, "")
    problems += answer_engine.quantisation_problems(choice, values.section(ExportConfig))
    return Result(problems, choice.reason)


def _training_questions(values: Params, questions: Questions) -> Result:
    problems = consistency.training_problems(questions, values.section(ExamplesConfig))
    redactor = _attempt(partial(pii.load, values.section(RedactConfig)), problems)
    if redactor is not None:
        explain = partial(pii.personal_data_problem, redactor=redactor)
        problems += consistency.text_problems(questions, explain)
    summary = f"{FAQ}, {QA}: keep the limits of `examples`, no golden question in training"
    return Result(problems, summary)


def _gate(values: Params, questions: Questions) -> Result:
    config = values.section(GateConfig)
    evaluate = values.section(EvaluateConfig)
    export = values.section(ExportConfig)
    problems: list[str] = []
    golden = _golden_in_use(values, questions, problems)
    problems += gate_settings.problems(config, golden) if golden else []
    problems += gate_settings.serving_problems(evaluate, export, golden)
    names = rules.names(config)
    today = datetime.date.today()
    find_unknown = partial(gate_overrides.problems, OVERRIDES, names, today)
    problems += _attempt(find_unknown, problems) or []
    summary = f"params.yaml: gate: {len(golden)} golden questions are enough for it"
    return Result(problems, summary, warnings=question_counts.warnings(config, golden))


def _packages(config: GateConfig) -> Result:
    """A refusal is a warning, since a person may override it."""
    problems: list[str] = []
    packages = _attempt(partial(locked_packages.read, PACKAGE_LISTS, LICENCES), problems)
    if packages is None:
        return Result(problems, "")
    rule = licence_rules.check_packages(config, packages)
    warnings = [] if rule.passed else [f"the gate will refuse: {rule.describe()}. {rule.remedy}"]
    return Result([], f"{LICENCES}: {len(packages)} packages", warnings=warnings)


def _token_issuer(config: GatewayConfig) -> Result:
    """The section's own mistakes are those of params.yaml, which is read first."""
    if config.oidc is None:
        return Result([], "")
    issuer = config.oidc.issuer
    gap = f"whether {issuer} answers: the gateway asks it when the first token comes"
    summary = f"params.yaml: gateway.oidc: tokens of {issuer} for {config.oidc.audience}"
    return Result([], summary, gap)


def _golden_in_use(values: Params, questions: Questions, problems: list[str]) -> list[Golden]:
    """Those that `evaluate` asks: about documents only if the template shows passages.

    A reading set that is in use and unfit adds its problems.
    """
    template = _attempt(partial(prompts.load, _template_path(values)), [])
    if template is None or template.refusal is None:
        return questions.golden.questions
    about_documents = golden_set.about_documents(questions.documents, template.refusal)
    golden = [*questions.golden.questions, *about_documents]
    if not values.section(ExamplesConfig).use_reading_set:
        return golden
    problems += reading_set.problems()
    shipped = _attempt(reading_set.load, [])
    return [*golden, *shipped.exam(template.refusal)] if shipped else golden


def _adoption() -> Result:
    """Whether an adoption was interrupted, and which set is in use."""
    problems: list[str] = []
    if sets.PLAN.exists():
        problems.append(
            f"{sets.SWITCH}: an adoption was interrupted: `python -m pipelines adopt` with the "
            "same words, or with --back, finishes it"
        )
    state = _attempt(sets.current, problems)
    if state is None or state.name == sets.SAMPLE:
        return Result(problems, "")
    return Result(problems, f"{sets.STATE}: {state.name} is adopted, the sample is aside")


def _records() -> Result:
    """What people and the pipeline wrote, line after line; each line holds the digest before it."""
    problems: list[str] = []
    _attempt(partial(gate_overrides.read, OVERRIDES, "", datetime.date.today()), problems)
    events = _attempt(ledger.read, problems) or []
    _attempt(reviews.read, problems)
    problems += drafts.problems()
    _attempt(partial(champions.read, CHAMPION), problems)
    return Result(problems, f"{OVERRIDES}: good; ledger: {len(events)} events, unbroken")


def _questions(questions: Questions) -> Result:
    topics = questions.faq.topics
    num_questions = sum(len(topic.questions) for topic in topics)
    problems = [*questions.problems, *consistency.golden_problems(questions)]
    return Result(
        problems,
        f"{FAQ}: {len(topics)} topics, {num_questions} questions; "
        f"{GOLDEN}: {len(questions.golden.questions)} questions, in agreement; "
        f"{QA}: {len(questions.documents.training)} for training, "
        f"{len(questions.documents.golden)} golden",
    )
