"""Whether any model could pass the gate: its settings against the golden set, before training.

A floor that nothing can reach costs a training to find out. Each function gives a list of problems,
with key, value and remedy.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig
from pipelines.config.gate import GateConfig
from pipelines.contracts.answers import METRICS, RETRIEVAL, SLICES
from pipelines.questions.golden import Golden

LOWER_IS_BETTER = "false_refusal"
# Metric -> the kind of question that it applies to.
KINDS = {
    "faq_match": "faq",
    "unanswerable_refused": "unanswerable",
    "document_match": "document",
    "document_f1": "document",
    "answer_contained": "document",
    "evidence_hit": "document",
}


def problems(config: GateConfig, golden: Sequence[Golden]) -> list[str]:
    """Why every candidate would be refused; `golden`: the golden set."""
    return [
        *_too_few_questions(config, golden),
        *_no_slice(config, golden),
        *_floors(config, golden),
        *_unknown_metrics("champion_metrics", config.champion_metrics),
        *_gain(config),
        *_one_answer(golden),
    ]


def _too_few_questions(config: GateConfig, golden: Sequence[Golden]) -> Iterator[str]:
    if len(golden) < config.min_questions:
        yield (
            f"params.yaml: gate.min_questions: {config.min_questions}, but data/golden has "
            f"{len(golden)} questions, so every model would be refused: write "
            f"{config.min_questions - len(golden)} more (fewer questions make wider intervals; "
            "lower the key only if your team accepts that)"
        )


def _no_slice(config: GateConfig, golden: Sequence[Golden]) -> Iterator[str]:
    sizes: Counter[tuple[str, str]] = Counter()
    for item in golden:
        for dimension in SLICES:
            sizes[dimension, str(getattr(item, dimension))] += 1
    largest = max(sizes.values(), default=0)
    if largest < config.min_slice_questions:
        yield (
            f"params.yaml: gate.min_slice_questions: {config.min_slice_questions}, but the largest "
            f"slice of data/golden has {largest} questions, so no slice could be judged and every "
            "model would be refused: write more questions, or lower it"
        )


def _floors(config: GateConfig, golden: Sequence[Golden]) -> Iterator[str]:
    yield from _unknown_metrics("floors", config.floors)
    for metric, floor in config.floors.items():
        key = f"params.yaml: gate.floors.{metric}: {floor}"
        if floor > 1:
            yield f"{key}: no metric can be above 1: take a value from 0 to 1"
        elif metric == LOWER_IS_BETTER:
            yield f"{key}: smaller is better in {metric}, so a floor asks for bad models: remove it"
        elif metric in METRICS and floor > 0 and not any(applies(metric, item) for item in golden):
            yield (
                f"{key}: data/golden has no question that {metric} applies to, so the gate would "
                f"miss it and refuse every model: {_remedy(metric)}, or remove the floor"
            )


def measurable(golden: Sequence[Golden]) -> set[str]:
    """The metrics that a question of the golden set measures."""
    metrics: set[str] = set()
    for item in golden:
        metrics.update(metric for metric in METRICS if applies(metric, item))
    return metrics


def applies(metric: str, item: Golden) -> bool:
    if metric == "refusal_recall":
        return item.expects_refusal
    if metric == "unseen_f1":
        return item.documents == "unseen"
    if metric in KINDS:
        return item.kind == KINDS[metric]
    if metric in RETRIEVAL:
        return item.page is not None
    return True


def _remedy(metric: str) -> str:
    if metric == "refusal_recall":
        return "write questions of kind out_of_scope or hostile"
    if metric == "faq_match":
        return "write questions of kind faq"
    if metric == "unseen_f1" or metric in KINDS:
        return "write such questions into data/qa/golden"
    return "write questions that name their page"


def _unknown_metrics(key: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name not in METRICS:
            similar = get_close_matches(name, METRICS, n=1)
            hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(METRICS)}"
            yield f"params.yaml: gate.{key}: {name!r} is no metric: {hint}"


def _gain(config: GateConfig) -> Iterator[str]:
    if config.min_gain_over_base > 1:
        yield (
            f"params.yaml: gate.min_gain_over_base: {config.min_gain_over_base}: exact match lies "
            "between 0 and 1, so no gain can be above 1: take a smaller value"
        )


def _one_answer(golden: Sequence[Golden]) -> Iterator[str]:
    answers = {item.expected for item in golden}
    if len(answers) == 1 and len(golden) > 1:
        yield (
            f"data/golden: expected: all {len(golden)} questions expect {answers.pop()!r}, so no "
            "model could beat the most frequent answer: write questions of several topics"
        )


def serving_problems(
    evaluate: EvaluateConfig, export: ExportConfig, golden: Sequence[Golden]
) -> list[str]:
    """Where the served model could not do what `evaluate` did, so that the proof would fail."""
    problems: list[str] = []
    num_read = evaluate.num_passages * evaluate.max_readings
    if num_read > evaluate.top_k:
        problems.append(
            f"params.yaml: evaluate.num_passages: {evaluate.num_passages} are to be shown in each "
            f"of {evaluate.max_readings} readings (evaluate.max_readings), but evaluate.top_k "
            f"retrieves {evaluate.top_k}: raise top_k or lower the others"
        )
    if export.max_prompt_tokens != evaluate.max_prompt_tokens:
        problems.append(
            f"params.yaml: export.max_prompt_tokens: {export.max_prompt_tokens} is not "
            f"evaluate.max_prompt_tokens ({evaluate.max_prompt_tokens}), so a long prompt would "
            "show other passages than were judged: set both to the same value"
        )
    if export.max_new_tokens < evaluate.max_new_tokens:
        problems.append(
            f"params.yaml: export.max_new_tokens: {export.max_new_tokens} is less than "
            f"evaluate.max_new_tokens ({evaluate.max_new_tokens}), so the server would cut answers "
            "that were judged whole: set both to the same value"
        )
    for item in golden:
        if len(item.question) > export.max_question_characters:
            problems.append(
                f"data/golden: {item.id}: question: has {len(item.question)} characters, more than "
                f"params.yaml: export.max_question_characters ({export.max_question_characters}), "
                "so the server would refuse it: shorten it or raise the key"
            )
    return problems
