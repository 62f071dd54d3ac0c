"""Infrastructure validation, as TFX's: a fresh server in explicit mode loads exactly this release and answers as evaluate measured.

Nothing here trusts a digest or the exporter: only what the started server loads and answers counts.
"""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipelines.config.serve import ProofConfig
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import Check, Report
from pipelines.errors import UserError
from pipelines.serving import server
from pipelines.serving.configs import ASSISTANT, MODELS

CLIENTS = 8  # questions asked at once, so that batches are seen as in service


def prove(repository: Path, record: ReleaseRecord, answers: list[dict[str, Any]], config: ProofConfig, weaviate: dict[str, str], log: Path) -> Report:
    """Every check with what was seen. `answers`: evaluate's rows of the candidate (contracts/answers.py). A server that does not start is a failed check."""
    log.unlink(missing_ok=True)
    wanted = {model: [str(record.version)] for model in MODELS}
    try:
        with server.started(repository, load=list(MODELS), log=log, environment=weaviate, patient=False) as triton:
            ready = triton.ready()
            versions = Check(name="exactly this version is loaded", passed=ready == wanted, observed=_shown(ready), expected=_shown(wanted))
            return Report.of([Check(name="the repository loads", passed=True, observed="loaded", expected="loaded"), versions, *_asked(triton, record, _sample(answers, config.num_questions), config)])
    except UserError as error:
        return Report.of([Check(name="the repository loads", passed=False, observed=_why(log) or str(error), expected="loaded")])
    finally:
        for bytecode in repository.rglob("__pycache__"):  # Triton's Python writes it whatever its environment says, and DVC would see a changed export
            shutil.rmtree(bytecode)


def _asked(triton: server.Triton, record: ReleaseRecord, sample: list[dict[str, Any]], config: ProofConfig) -> list[Check]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        given = list(pool.map(lambda row: _ask(triton, row["question"]), sample))
    failed = [answer["error"] for answer in given if "error" in answer]
    pairs = [(row, answer) for row, answer in zip(sample, given, strict=True) if "error" not in answer]
    others = [answer for _, answer in pairs if (answer["model_version"], answer["release_id"]) != (str(record.version), record.release_id)]
    changed = [f"{row['question']!r}: {answer['answer']!r} instead of {row['answer']!r}" for row, answer in pairs if answer["answer"] != row["answer"]]
    moved = [f"{row['question']!r}: {_cited(answer)} instead of {row['cited']}" for row, answer in pairs if _cited(answer) != list(row["cited"])]
    total = len(sample)
    return [
        Check(name="golden questions were asked", passed=total >= min(config.num_questions, 1), observed=str(total), expected=f"{config.num_questions}"),
        Check(name="every question is answered", passed=not failed and total > 0, observed=f"{len(failed)} of {total} failed", expected="0", examples=failed[:3]),
        Check(name="this release answered, as the server says", passed=not others and bool(pairs), observed=f"{len(others)} of {len(pairs)} by another", expected="0"),
        _share("answers equal evaluate's", total - len(changed) - len(failed), total, config.min_same_answers, changed),
        _share("citations equal evaluate's", total - len(moved) - len(failed), total, config.min_same_citations, moved),
    ]


def _ask(triton: server.Triton, question: str) -> dict[str, Any]:
    try:
        return triton.generate(ASSISTANT, {"question": question})
    except (UserError, OSError) as error:
        return {"error": str(error) or type(error).__name__}


def _share(name: str, good: int, total: int, least: float, examples: list[str]) -> Check:
    return Check(name=name, passed=total > 0 and good / total >= least, observed=f"{good} of {total}", expected=f"at least {least:.0%}", examples=examples[:3])


def _cited(answer: dict[str, Any]) -> list[str]:
    return [citation["chunk_id"] for citation in json.loads(answer["citations"])]


def _sample(answers: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Evenly spread over all questions, the same each time."""
    step = max(1, len(answers) // count)
    return answers[::step][:count]


def _why(log: Path) -> str | None:
    """The server's own message about what it could not load."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    said = [line.split('"', 1)[-1].strip('"') for line in lines if line.startswith("E") and ("failed to load" in line or "Poll failed" in line or "must be specified" in line)]
    return said[0] if said else None


def _shown(versions: dict[str, list[str]]) -> str:
    return ", ".join(f"{model} {'+'.join(sorted(found))}" for model, found in sorted(versions.items())) or "nothing"
