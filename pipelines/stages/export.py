"""export: an accepted candidate -> a Triton model repository and the record of what it was made of."""

import json
import subprocess
from pathlib import Path

from pipelines import encoding, files
from pipelines.config.evaluate import EvaluateConfig
from pipelines.config.export import ExportConfig
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.release import ReleaseRecord
from pipelines.contracts.report import Report
from pipelines.contracts.scores import CANDIDATE, Scores
from pipelines.contracts.verdict import Verdict
from pipelines.errors import Refusal, UserError
from pipelines.prompts import FILE as PROMPT_FILE
from pipelines.prompts import load
from pipelines.serving import parity, repository
from pipelines.serving.configs import GENERATOR, MODELS


def run(
    config: ExportConfig, evaluate: EvaluateConfig, verdict: Path, scores: Path, documents: Path, chunks: Path, index: Path, examples: Path, base: Path, adapter: Path, triton: Path,
) -> None:  # fmt: skip
    """Write the repository whole. Raises Refusal where the verdict refused or was about another candidate."""
    decided = files.read_json(verdict, Verdict)
    if not decided.accepted:
        Report(passed=False, reason=decided.reason, checks=[rule for rule in decided.rules if not rule.passed]).demand(
            "the gate", "Nothing is exported. Look at data/reports/worst_answers.html; a person may override a rule in data/overrides.yaml"
        )
    if decided.candidate != files.digest(adapter):
        raise Refusal(f"refused: {verdict} is about candidate {decided.candidate[:12]}, not about {adapter}: run `dvc repro`")
    measured = files.read_json(scores, Scores)
    receipt, prompt = files.read_json(index, Receipt), load(adapter / PROMPT_FILE)
    refusals = json.loads((examples / "facts.json").read_text(encoding="utf-8"))["refusals"]
    parts = repository.Parts(base, adapter, encoding.locate(receipt.encoder.model, receipt.encoder.revision), receipt, prompt, refusals)
    digests = {
        "documents": files.digest(documents), "chunks": files.digest(chunks), "index": receipt.digest, "prompt_digest": files.digest(adapter / PROMPT_FILE),
        "base": files.digest(base), "adapter": decided.candidate, "scores": files.digest(scores), "verdict": files.digest(verdict),
    }  # fmt: skip
    with files.replacing(triton) as target:
        digests["model"] = files.digest(repository.write(config, evaluate, parts, target))
        if config.quantisation != "none":
            _check_parity(config, evaluate, target / GENERATOR / str(config.version), examples)
        digests["repository"] = files.digest(target)
        record = _record(digests, config.version, measured, documents, receipt, prompt.name)
        repository.name(target, config.version, record.release_id)
        files.write_json(target / "release.json", record)
        repository.check(target)
    print(f"release {record.release_id}: {triton} holds {', '.join(MODELS)} version {config.version}")


def _check_parity(config: ExportConfig, evaluate: EvaluateConfig, generator: Path, examples: Path) -> None:
    """Raises Refusal where the quantised model answers otherwise than the one that was evaluated, beyond export.parity."""
    from datasets import load_from_disk

    report = parity.measure(config, evaluate, generator, list(load_from_disk(str(examples))["validation"]["prompt"]))
    report.demand(f"the parity of {config.quantisation} with the unquantised model", "Set export.quantisation to none or int8, or export.parity to what you can bear")
    print(f"parity of {config.quantisation}: {report.checks[1].observed} of the tokens and {report.checks[2].observed} of the answers are the unquantised model's")


def _record(digests: dict[str, str], version: int, scores: Scores, documents: Path, receipt: Receipt, prompt: str) -> ReleaseRecord:
    commit, modified = _code()
    measured = scores.systems[CANDIDATE].metrics.get("exact_match")
    if measured is None or measured.value is None:
        raise UserError("data/reports/scores.json: systems: candidate: exact_match: is missing, and a release records it (an override cannot stand in for it): `dvc repro evaluate` measures it")
    return ReleaseRecord(
        release_id="r-" + files.text_digest("/".join(f"{name}={digests[name]}" for name in sorted(digests)))[:12], version=version, num_documents=sum(1 for _ in files.read(documents, DOCUMENTS)),
        collection=receipt.collection, encoder=receipt.encoder.model, prompt=prompt, exact_match=measured.value, code_commit=commit, code_modified=modified, **digests,
    )  # fmt: skip


def _code() -> tuple[str, bool]:
    """The commit of this work tree, and whether tracked files differ from it (results of the pipeline are not code)."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    if asked.returncode:
        raise UserError(f"the code's commit cannot be told, so no release can be made: {asked.stderr.strip()}. Work in a Git clone with at least one commit")
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no", "--", "pipelines", "params.yaml", "dvc.yaml", "data/faq", "data/golden", "data/prompts", "data/raw"], capture_output=True, text=True
    )
    return asked.stdout.strip(), bool(changed.stdout.strip())
