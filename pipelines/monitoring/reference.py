"""The questions that a release was made with, which its traffic is compared with.

They are kept for as long as the release is watched.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines import files
from pipelines.config.encoder import EncoderConfig
from pipelines.contracts.window import WINDOW
from pipelines.errors import UserError
from pipelines.monitoring.question_vectors import embed
from pipelines.monitoring.signals import KnownQuestions
from pipelines.questions import faq, golden
from pipelines.system import git

FOLDER = Path("data/reports/drift/known")
KNOWN_QUESTIONS = pa.schema(
    [
        pa.field("question", pa.string(), nullable=False),
        pa.field("expected", pa.string(), nullable=False),
        pa.field("refusal", pa.bool_(), nullable=False),
        pa.field("golden", pa.bool_(), nullable=False),  # otherwise: a training question
    ]
)


def known_questions(config: EncoderConfig, release_id: str) -> KnownQuestions:
    """The questions of the release's training and golden set.

    Read once for each release (FOLDER) and embedded once. Raises UserError if `release_id` cannot
    be a release's name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", release_id):
        raise UserError(
            f"data/traffic: release_id {release_id!r} is not the name of a release: "
            "the log was not written by serving"
        )
    path = FOLDER / f"{release_id}.parquet"
    if not path.exists():
        _collect(release_id, path)
    table = pd.DataFrame(files.read(path, KNOWN_QUESTIONS), columns=KNOWN_QUESTIONS.names)
    questions = table["question"].tolist()
    return KnownQuestions(
        questions,
        table["expected"].tolist(),
        table["refusal"].to_numpy(dtype=bool),
        table["golden"].to_numpy(dtype=bool),
        embed(config, questions),
    )


def _collect(release_id: str, path: Path) -> None:
    """Write the release's questions, with where they come from, to `path`."""
    with tempfile.TemporaryDirectory() as folder:
        root, source = sources(release_id, Path(folder))
        topics = faq.load(root / "data/faq")
        rows = known_rows(topics, golden.load(root / "data/golden"))
    files.write(path, KNOWN_QUESTIONS.with_metadata({"source": source}), rows)


def sources(release_id: str, target: Path) -> tuple[Path, str]:
    """(a folder that holds data/faq and data/golden, where they come from).

    They come from the release's Git tag, written below `target`, or, if there is no such tag, from
    this work tree.
    """
    tag = _tag(release_id)
    if git.commit_of(tag) is None:
        return Path(), "this work tree (the release has no Git tag)"
    names = git.output("ls-tree", "-r", "--name-only", tag, "data/faq", "data/golden")
    for name in names.splitlines():
        content = git.call_bytes("show", f"{tag}:{name}")
        if content.returncode:
            raise UserError(f"Git cannot show {name} of {tag}: `git fsck` says what is damaged")
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.stdout)
    return target, f"Git tag release/{release_id}"


def known_rows(
    topics: list[faq.Topic], golden_questions: list[golden.Golden]
) -> list[dict[str, Any]]:
    """Rows of KNOWN_QUESTIONS, each question once, sorted.

    A question that is in both is a training question.
    """
    by_question: dict[str, dict[str, Any]] = {}
    for item in reversed(golden_questions):
        by_question[item.question] = {
            "question": item.question,
            "expected": item.expected,
            "refusal": item.kind != "faq",
            "golden": True,
        }
    for topic in reversed(topics):
        for question in topic.questions:
            by_question[question] = {
                "question": question,
                "expected": topic.answer,
                "refusal": topic.refusal,
                "golden": False,
            }
    return [by_question[question] for question in sorted(by_question)]


def golden_table(known_questions: KnownQuestions) -> pd.DataFrame:
    """The golden questions as contracts.window rows.

    Everything that only live traffic would tell is null.
    """
    rows: list[dict[str, Any]] = []
    for number in np.flatnonzero(known_questions.golden):
        row: dict[str, Any] = dict.fromkeys(WINDOW.names)
        row |= {"request_id": f"golden-{number}", "release_id": "", "status": "ok"}
        rows.append(row | {"question": known_questions.questions[number]})
    return table_of(rows)


def table_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """contracts.window rows as a frame with all its columns.

    Null numbers are NaN, null times NaT.
    """
    table = pd.DataFrame(rows, columns=WINDOW.names)
    table["time"] = pd.to_datetime(table["time"], utc=True)
    return table


def documents_changed(release_id: str) -> bool | None:
    """Whether data/raw of this work tree differs from the release's Git tag; None without a tag."""
    tag = _tag(release_id)
    if git.commit_of(tag) is None:
        return None
    differences = git.call("diff", "--name-only", tag, "--", "data/raw")
    new_files = git.call("ls-files", "--others", "--exclude-standard", "data/raw")
    if differences.returncode or new_files.returncode:
        return None
    return bool(differences.stdout.strip() or new_files.stdout.strip())


def _tag(release_id: str) -> str:
    return f"refs/tags/release/{release_id}"
