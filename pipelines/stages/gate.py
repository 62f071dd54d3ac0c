"""gate: scores and evidence become a verdict, which export obeys, and the list of all parts.

The packages that count are those of the environments whose code a release runs: `pipeline` with
`models`, which makes and judges it, and `triton`, which serves it.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path

from pipelines import files
from pipelines.config.gate import GateConfig
from pipelines.contracts.base_receipt import MADE, BaseReceipt
from pipelines.contracts.receipt import Receipt
from pipelines.contracts.report import Report
from pipelines.contracts.scores import Scores
from pipelines.decision import (
    bill_of_materials,
    champions,
    endorsements,
    gate_overrides,
    ledger,
    rules,
)
from pipelines.decision.bill_of_materials import Model
from pipelines.errors import demand_none
from pipelines.system import locked_packages
from pipelines.system.locked_packages import Package
from pipelines.training import weights


@dataclass(frozen=True)
class Inputs:
    """The scores and everything else that a rule looks at."""

    scores: Path
    validation: Path
    examples_validation: Path
    adapter: Path
    champion: Path
    overrides: Path
    base: Path
    index: Path
    pipeline: Path  # lists of packages
    models: Path
    triton: Path
    licences: Path  # what the packages state


@dataclass(frozen=True)
class Outputs:
    verdict: Path
    sbom: Path


def run(config: GateConfig, inputs: Inputs, outputs: Outputs) -> None:
    """Judge the candidate by every rule.

    The verdict has each rule with its number, threshold and outcome. A refusal is a result, not an
    error of this stage.
    """
    scores = files.read_json(inputs.scores, Scores)
    champion = champions.read(inputs.champion)
    lists = (inputs.pipeline, inputs.models, inputs.triton)
    packages = locked_packages.read(lists, inputs.licences)
    evidence = rules.Evidence(
        validation=files.read_json(inputs.validation, Report),
        examples_validation=files.read_json(inputs.examples_validation, Report),
        adapter_digest=files.digest(inputs.adapter),
        adapter_checks=weights.checks(inputs.adapter),
        proof=files.read_json(inputs.adapter / "proof.json", Report),
        licences=_licences(inputs),
        packages=packages,
    )
    today = datetime.date.today()
    candidate = evidence.adapter_digest
    demand_none(gate_overrides.problems(inputs.overrides, rules.names(config), today, candidate))
    ledger.read()  # nothing is judged beside a ledger that somebody rewrote
    overrides, objection = endorsements.in_force(
        gate_overrides.read(inputs.overrides, candidate, today), candidate
    )
    verdict = rules.judge(
        config,
        scores,
        rules.check_evidence(config, evidence, scores),
        champion.release_id if champion else None,
        overrides,
    )
    files.write_json(outputs.verdict, verdict)
    files.write_text(outputs.sbom, _bill_of_materials(inputs, candidate, packages))
    print(verdict.reason)
    if objection:
        print(objection)
    for line in verdict.power:
        print(f"power: {line}")
    for gap in verdict.not_judged:
        print(f"not judged: {gap}")


def _bill_of_materials(inputs: Inputs, candidate: str, packages: list[Package]) -> str:
    base = files.read_json(inputs.base / "receipt.json", BaseReceipt)
    encoder = files.read_json(inputs.index, Receipt).encoder
    adapter = Model("candidate", bill_of_materials.NAME, candidate[:12], None, candidate)
    encoder_name = bill_of_materials.name_of(encoder.model)
    models = [
        Model("base", base.source, base.revision, base.licence, files.digest(inputs.base)),
        Model("encoder", encoder_name, encoder.revision, encoder.licence, encoder.digest),
    ]
    return bill_of_materials.render(adapter, models, packages)


def _licences(inputs: Inputs) -> dict[str, str | None]:
    """The licence of each model that comes from elsewhere, as its authors name it."""
    base = files.read_json(inputs.base / "receipt.json", BaseReceipt)
    encoder = files.read_json(inputs.index, Receipt).encoder
    licences = {encoder.model: encoder.licence}
    if base.source != MADE:
        licences = {base.source: base.licence, **licences}
    return licences
