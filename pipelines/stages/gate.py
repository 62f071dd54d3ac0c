"""gate: scores and evidence -> a verdict that export obeys. A refusal is a result, not an error of this stage."""

import datetime
from pathlib import Path

from pipelines import champions, files, weights
from pipelines import gate as rules
from pipelines.config.gate import GateConfig
from pipelines.contracts.report import Report
from pipelines.contracts.scores import Scores


def run(config: GateConfig, scores: Path, validation: Path, examples_validation: Path, adapter: Path, champion: Path, overrides: Path, verdict: Path) -> None:
    """Judge the candidate by every rule; each is in the verdict with number, threshold and outcome."""
    measured = files.read_json(scores, Scores)
    released = champions.read(champion)
    digest = files.digest(adapter)
    seen = rules.evidence(files.read_json(validation, Report), files.read_json(examples_validation, Report), weights.checks(adapter), files.read_json(adapter / "proof.json", Report), digest, measured)
    decided = rules.judge(config, measured, seen, released.release_id if released else None, rules.read_overrides(overrides, digest, datetime.date.today()))
    files.write_json(verdict, decided)
    print(decided.reason)
