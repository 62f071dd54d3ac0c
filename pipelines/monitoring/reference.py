"""Knows what a release was made with: the questions of its training and golden set, kept for as long as it is watched."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.contracts.window import WINDOW
from pipelines.encoding import Vectors
from pipelines.errors import UserError
from pipelines.monitoring.signals import Known

KNOWN = pa.schema([
    pa.field("question", pa.string(), nullable=False),
    pa.field("expected", pa.string(), nullable=False),
    pa.field("refusal", pa.bool_(), nullable=False),
    pa.field("golden", pa.bool_(), nullable=False),  # else of training
])  # fmt: skip


def sources(release_id: str, into: Path) -> tuple[Path, str]:
    """(a folder that holds data/faq and data/golden, where they come from): the release's Git tag, or this work tree where there is none.

    Files of the tag are written below `into`.
    """
    tag = f"refs/tags/release/{release_id}"
    if _git("rev-parse", "--verify", "--quiet", tag) is None:
        return Path(), "this work tree (the release has no Git tag)"
    listed = _git("ls-tree", "-r", "--name-only", tag, "data/faq", "data/golden")
    for name in (listed or b"").decode().splitlines():
        content = _git("show", f"{tag}:{name}")
        if content is None:
            raise UserError(f"Git cannot show {name} of {tag}: `git fsck` says what is damaged")
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return into, f"Git tag release/{release_id}"


def known_rows(topics: list[Any], golden: list[Any]) -> list[dict[str, Any]]:
    """Rows of KNOWN from faq.Topic and golden.Golden, each question once, sorted; training before golden where a question is in both."""
    rows = [{"question": question, "expected": topic.answer, "refusal": topic.refusal, "golden": False} for topic in topics for question in topic.questions]
    rows += [{"question": item.question, "expected": item.expected, "refusal": item.kind != "faq", "golden": True} for item in golden]
    once = {row["question"]: row for row in reversed(rows)}
    return [once[question] for question in sorted(once)]


def known(rows: list[dict[str, Any]], vectors: Vectors) -> Known:
    """Rows of KNOWN with their vectors."""
    texts = [[str(row[name]) for row in rows] for name in ("question", "expected")]
    flags = [np.array([bool(row[name]) for row in rows]) for name in ("refusal", "golden")]
    return Known(texts[0], texts[1], flags[0], flags[1], vectors)


def golden_table(found: Known) -> pd.DataFrame:
    """The golden questions as contracts.window rows: questions alone, everything that live traffic would tell is null."""
    rows = [{**dict.fromkeys(WINDOW.names), "request_id": f"golden-{place}", "release_id": "", "status": "ok", "question": found.questions[place]} for place in np.flatnonzero(found.golden)]
    return table_of(rows)


def table_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """contracts.window rows as a frame with all its columns; null numbers are NaN, null times NaT."""
    made = pd.DataFrame(rows, columns=WINDOW.names)
    made["time"] = pd.to_datetime(made["time"], utc=True)
    return made


def documents_changed(release_id: str) -> bool | None:
    """Whether data/raw of this work tree differs from the release's Git tag; None where there is no such tag."""
    tag = f"refs/tags/release/{release_id}"
    if _git("rev-parse", "--verify", "--quiet", tag) is None:
        return None
    changed, added = _git("diff", "--name-only", tag, "--", "data/raw"), _git("ls-files", "--others", "--exclude-standard", "data/raw")
    return None if changed is None or added is None else bool(changed.strip() or added.strip())


def _git(*words: str) -> bytes | None:
    done = subprocess.run(["git", *words], capture_output=True)
    return done.stdout if done.returncode == 0 else None
