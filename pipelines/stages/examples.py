"""examples: the FAQ -> training and validation examples, rendered by the prompt template, checked by Great Expectations."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import faq as faq_files
from pipelines import files, pii, wording
from pipelines import golden as golden_files
from pipelines.config.examples import ExamplesConfig
from pipelines.config.redact import RedactConfig
from pipelines.contracts.chunks import CHUNKS
from pipelines.faq import Topic
from pipelines.prompts import Prompt, completion, load, save
from pipelines.quality import Promise, examine

MAX_ROUNDS = 20  # variants tried of each question of a topic with few: short ones have hardly any


def run(config: ExamplesConfig, redact: RedactConfig, faq: Path, golden: Path, prompts: Path, chunks: Path, examples: Path, examples_validation: Path) -> None:
    """Render every question of every topic. A golden question among them fails the report, which finetune obeys."""
    template = load(prompts / f"{config.template}.yaml")
    topics = faq_files.load(faq)
    passages = _passages(topics, chunks, config.num_passages) if template.shows_passages else {}
    questions = [question.question for question in golden_files.load(golden)]
    rows = [row | {"prompt": template.render(row["question"], passages.get(row["topic"], []))} for row in _rows(topics, config, questions)]
    report = examine(_described(rows, pii.load(redact)), _promises(config), "examples")
    files.write_json(examples_validation, report)
    _save(examples, rows, topics, template)
    print(f"{len(topics)} topics, {sum(row['split'] == 'train' for row in rows)} training and {sum(row['split'] == 'validation' for row in rows)} validation examples: {report.reason}")


def _rows(topics: list[Topic], config: ExamplesConfig, golden: list[str]) -> list[dict[str, Any]]:
    """One row a question; training questions are followed by their variants, less those that come near a golden question."""
    dice = random.Random(config.seed)
    rows: list[dict[str, Any]] = []
    for topic in topics:
        first = len(rows)
        held = set(dice.sample(range(len(topic.questions)), max(1, round(config.validation_share * len(topic.questions)))))
        for number, question in enumerate(topic.questions):
            row = {"topic": topic.topic, "completion": completion(topic.answer)}
            split = "validation" if number in held else "train"
            rows.append(row | {"question": question, "split": split, "is_variant": False})
            made = [wording.variant(question, config.word_dropout, dice) for _ in range(config.num_variants if split == "train" else 0)]
            rows += [row | {"question": text, "split": split, "is_variant": True} for text in dict.fromkeys(made) if text != question]
        rows += _further([row for row in rows[first:] if row["split"] == "train"], config, dice)
    alike = wording.most_alike([row["question"] for row in rows], golden)
    kept = [row | {"similarity": near[0], "golden": near[1]} for row, near in zip(rows, alike, strict=True) if not (row["is_variant"] and near[0] >= config.near_duplicate_similarity)]
    dice.shuffle(kept)
    return kept


def _further(rows: list[dict[str, Any]], config: ExamplesConfig, dice: random.Random) -> Iterator[dict[str, Any]]:
    """Variants, each once, of a topic's training questions in turn, until the topic has `min_examples`: one with few questions is else drowned by the others."""
    questions, seen = [row for row in rows if not row["is_variant"]], {row["question"] for row in rows}
    for row in questions * MAX_ROUNDS:
        if len(seen) >= config.min_examples:
            return
        text = wording.variant(row["question"], config.word_dropout, dice)
        if text not in seen:
            seen.add(text)
            yield row | {"question": text, "is_variant": True}


def _described(rows: list[dict[str, Any]], redactor: pii.Redactor) -> pd.DataFrame:
    """What the expectations look at: originals alone, since variants repeat them by intention."""
    originals = [row for row in rows if not row["is_variant"]]
    left = {text: ", ".join(sorted({find.type for find in redactor.finds(text)})) or None for text in {part for row in originals for part in (row["prompt"], row["completion"])}}
    counts = pd.Series([row["topic"] for row in originals]).value_counts()
    return pd.DataFrame([{
        "uri": f"{row['topic']}: {row['question']}" + (f" ~ golden: {row['golden']}" if row["similarity"] > 0.5 else ""), "normal": wording.normal(row["question"]) or row["question"],
        "characters": len(row["question"].strip()), "similarity": row["similarity"], "topic_questions": int(counts[row["topic"]]),
        "personal_data": left[row["prompt"]] or left[row["completion"]],
    } for row in originals])  # fmt: skip


def _promises(config: ExamplesConfig) -> list[Promise]:
    between = "ExpectColumnValuesToBeBetween"
    return [
        Promise("question length in characters", between, {"column": "characters", "min_value": 2, "max_value": config.max_question_characters}),
        Promise("no question occurs twice", "ExpectColumnValuesToBeUnique", {"column": "normal"}),
        Promise("questions a topic", between, {"column": "topic_questions", "min_value": config.min_questions}),
        Promise("no golden question in training", between, {"column": "similarity", "max_value": config.near_duplicate_similarity, "strict_max": True}),
        Promise("no personal data", "ExpectColumnValuesToBeNull", {"column": "personal_data"}),
    ]


def _passages(topics: list[Topic], chunks: Path, count: int) -> dict[str, list[str]]:
    """For each topic, the chunks of its page that share most words with the answer."""
    by_page: dict[str, list[str]] = {}
    for row in files.read(chunks, CHUNKS):
        by_page.setdefault(row["uri"], []).append(row["text"])
    found = {}
    for topic in topics:
        answer = set(wording.normal(topic.answer).split())
        ranked = sorted(by_page.get(topic.page or "", []), key=lambda text: -len(answer & set(wording.normal(text).split())))
        found[topic.topic] = ranked[:count]
    return found


def _save(examples: Path, rows: list[dict[str, Any]], topics: list[Topic], template: Prompt) -> None:
    """Arrow files of the two splits, the template, and the facts that evaluation needs (refusals, most frequent answer)."""
    from datasets import Dataset, DatasetDict
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    columns = ("topic", "question", "prompt", "completion")
    splits = {split: Dataset.from_list([{name: row[name] for name in columns} for row in rows if row["split"] == split]) for split in ("train", "validation")}
    answers = pd.Series([row["completion"].strip() for row in rows if not row["is_variant"]])
    with files.replacing(examples) as target:
        DatasetDict(splits).save_to_disk(str(target))
        save(template, target)
        files.write_json(target / "facts.json", {"refusals": sorted({topic.answer for topic in topics if topic.refusal}), "most_frequent_answer": str(answers.mode()[0])})
