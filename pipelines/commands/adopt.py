"""Make this clone your own: your documents instead of the sample's, and what fits them.

python -m pipelines adopt FOLDER    copies the documents below the folder to data/raw/NAME
python -m pipelines adopt URL       a Git repository, a site, or a store such as s3://...: fetched
python -m pipelines adopt --back    the sample again; your own set stays in data/aside/NAME

Nothing is deleted: FAQ, golden set and questions that are not in use lie in data/aside. An
interrupted adoption is finished by the same command.
"""

import argparse
import json
import shutil
from pathlib import Path

import yaml

from pipelines import files
from pipelines.adoption import origins, params_text, presets, seeds, sets, thresholds
from pipelines.adoption.origins import Origin
from pipelines.adoption.sets import State
from pipelines.adoption.thresholds import Change, Facts
from pipelines.config import params
from pipelines.config.engine import EngineConfig
from pipelines.config.gate import GateConfig
from pipelines.config.ingest import IngestConfig
from pipelines.config.params import Params
from pipelines.config.validate import ValidateConfig
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.left_out import LEFT_OUT
from pipelines.corpus import losses
from pipelines.corpus.remote import fetch
from pipelines.corpus.snapshots import is_remote
from pipelines.decision import champions, gate_settings
from pipelines.errors import UserError, demand_none
from pipelines.questions import consistency, prompts, reading_set
from pipelines.stages import ingest
from pipelines.system import locks, paths

PARAMS = sets.PARAMS
CHAMPION = Path("models/champion.json")
LOCK_FILE = Path("infra/requirements/pipeline.txt")
# The values that belong to a set of questions and documents.
KEYS = (
    *("ingest.sources", "ingest.max_rejected_share"),
    *("validate.min_documents", "validate.min_median_characters"),
    *("validate.languages", "validate.min_language_share", "validate.max_duplicate_share"),
    *("validate.max_untitled_share", "validate.max_volume_change_share"),
    *("gate.floors", "gate.champion_metrics", "examples.use_reading_set"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", nargs="?", metavar="FOLDER|URL", help="where your documents are")
    parser.add_argument("--name", help="short name of the source (default: from FOLDER or URL)")
    parser.add_argument("--back", action="store_true", help="bring the sample back")


def run(address: str | None, name: str | None, back: bool) -> None:
    """Adopt, or bring the sample back. Raises UserError, with everything as it was."""
    if back == (address is not None):
        raise UserError("adopt needs either FOLDER or URL, or --back")
    with locks.exclusive(paths.state_folder() / "adopt.lock"):
        plan = sets.finish()
        if plan:
            print(f"finished what was interrupted: {plan.old} is aside, {plan.new.name} in use")
        if address is None:
            _bring_back()
        else:
            _adopt(origins.read(address, name), address)


def _bring_back() -> None:
    state = sets.current()
    if state.name == sets.SAMPLE:
        print("the sample is in use: nothing to bring back")
        return
    sample = (sets.folder(sets.SAMPLE) / PARAMS).read_text(encoding="utf-8")
    text = params_text.take_over(PARAMS.read_text(encoding="utf-8"), sample, _keys())
    _check(text)
    sets.switch(State(name=sets.SAMPLE, address=None), text)
    print(
        f"the sample is in use again. Your questions of {state.name} lie in "
        f"{sets.folder(state.name)}, your documents where they were; "
        f"`python -m pipelines adopt {state.address}` takes them up again"
    )


def _adopt(origin: Origin, address: str) -> None:
    state = sets.current()
    _copy_documents(origin, is_known=origin.name == state.name)
    text = _with_reading_model(_with_sources(_text_for(origin.name, state), origin))
    values = _check(text)
    _fetch(values, origin)
    documents, rejections = _read_documents(values)
    demand_none(thresholds.obstacles(documents, rejections))
    if origin.name != state.name:
        seeds.prepare(origin.name)
    changes = _changes(values, origin.name, documents, rejections)
    text, floors = _restore_floors(text, values, origin.name, state)
    text = _apply(text, changes)
    text = params_text.replace_value(text, "examples.use_reading_set", True)
    _check(text)
    for change in changes:
        metric = change.key.removeprefix("gate.floors.")
        if change.new is None:
            floors[metric] = change.old
    new_state = State(name=origin.name, address=address, removed_floors=floors)
    if origin.name == state.name:
        files.write_text(PARAMS, text)
        files.write_json(sets.STATE, new_state)
    else:
        sets.switch(new_state, text)
    _explain(origin, len(documents), changes)


def _with_reading_model(text: str) -> str:
    """The text with a model that is shown passages: others could know nothing of documents."""
    name = yaml.safe_load(text)["examples"]["template"]
    if prompts.load(Path("data/prompts") / f"{name}.yaml").shows_passages:
        return text
    print("params.yaml: a model that reads documents instead of one that knows the FAQ by heart:")
    for key, value in presets.changes(text, presets.READING).items():
        text = params_text.replace_value(text, key, value)
        print(f"  {key}: {json.dumps(value)}")
    return text


def _copy_documents(origin: Origin, *, is_known: bool) -> None:
    """Copy what has a reader below data/raw. Raises UserError if something else lies there."""
    if origin.folder is None:
        return
    from tqdm import tqdm

    target = origins.RAW / origin.name
    documents = origins.documents_below(origin.folder)
    is_known = is_known or sets.folder(origin.name).exists()
    if target.exists() and not is_known:
        strangers = set(origins.documents_below(target)) - set(documents)
        if strangers:
            raise UserError(
                f"{target} exists and holds other documents, such as {min(strangers)}: give your "
                "documents another name with --name NAME"
            )
    with files.replacing(target) as replacement:
        for path in tqdm(documents, desc=f"copying to {target}", unit=" files", mininterval=1):
            copy = replacement / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin.folder / path, copy)
    counts = origins.suffixes_without_reader(origin.folder)
    if counts:
        listing = ", ".join(f"{num} {suffix}" for suffix, num in counts.most_common())
        print(f"left out, since no reader takes them: {listing}")


def _text_for(name: str, state: State) -> str:
    """params.yaml with the values that the set last had, or those of the sample."""
    text = PARAMS.read_text(encoding="utf-8")
    if name == state.name:
        return text
    for source in (name, sets.SAMPLE):
        path = sets.folder(source) / PARAMS
        if path.exists():
            return params_text.take_over(text, path.read_text(encoding="utf-8"), _keys())
    return text


def _keys() -> list[str]:
    """All that belongs to a set: what its documents need, and the model that reads them."""
    return list(dict.fromkeys([*KEYS, *presets.keys(presets.READING)]))


def _with_sources(text: str, origin: Origin) -> str:
    """The text with this source; sources that people added to the same set stay as they are."""
    current = params_text.value_text(text, "ingest.sources")
    if f"name: {origin.name} " in current:
        return text
    return params_text.replace_text(text, "ingest.sources", origin.as_yaml())


def _check(text: str) -> Params:
    """The text as params.yaml. Raises UserError if it is none; nothing is in use yet."""
    path = paths.state_folder() / "adopt" / "params.yaml"
    files.write_text(path, text)
    return params.load(path)


def _fetch(values: Params, origin: Origin) -> None:
    """Bring the documents of a remote source, as `python -m pipelines fetch` does."""
    config = values.section(IngestConfig)
    for source in config.sources:
        if source.name == origin.name and is_remote(source):
            print(f"fetching {origin.name} ...", flush=True)
            count = fetch(source, config.limits.max_document_mib << 20)
            print(
                f"{count} documents fetched; `python -m pipelines fetch` brings what is new, and "
                "only that is read again"
            )


def _read_documents(values: Params) -> tuple[list[Facts], dict[str, str]]:
    """Every document as `ingest` reads it, and uri -> reason of those that it rejects."""
    folder = paths.state_folder() / "adopt"
    config = values.section(IngestConfig).model_copy(update={"max_rejected_share": 1.0})
    outputs = ingest.Outputs(
        converted=folder / "converted.parquet",
        rejections=folder / "rejections.parquet",
        left_out=folder / "left_out.parquet",
        ingestion=folder / "ingestion.json",
    )
    stage_config = ingest.Config(config, values.section(EngineConfig))
    ingest.run(stage_config, ingest.Inputs(pipeline=LOCK_FILE), outputs)
    rows_left_out = files.read(outputs.left_out, LEFT_OUT)
    shares = {loss.uri: loss.share for loss in losses.by_document(rows_left_out)}
    documents: list[Facts] = []
    for row in files.read(outputs.converted, DOCUMENTS):
        documents.append(
            Facts(
                uri=row["uri"],
                characters=len(row["text"].strip()),
                language=row["language"],
                is_untitled=row["title"] is None,
                num_aliases=len(row["aliases"]),
                left_out_share=shares.get(row["uri"], 0.0),
            )
        )
    rejections: dict[str, str] = {}
    for row in files.read(outputs.rejections, REJECTIONS):
        rejections[row["uri"]] = row["reason"]
    return documents, rejections


def _changes(
    values: Params, name: str, documents: list[Facts], rejections: dict[str, str]
) -> list[Change]:
    validate = values.section(ValidateConfig)
    champion = champions.read(CHAMPION)
    num_before = champion.num_documents if champion else None
    changes = thresholds.for_documents(
        values.section(IngestConfig), validate, documents, rejections
    )
    changes += thresholds.for_release(validate, len(documents), num_before)
    changes += thresholds.for_gate(values.section(GateConfig), _measurable(name))
    return changes


def _measurable(name: str) -> set[str]:
    """The metrics that the set's golden questions measure, with those of the reading set."""
    root = Path() if name == sets.current().name else sets.folder(name)
    questions = consistency.read(root / "data/faq", root / "data/golden", root / "data/qa")
    shipped = reading_set.load().exam(refusal="-")
    return gate_settings.measurable([*questions.exam(refusal="-"), *shipped])


def _restore_floors(
    text: str, values: Params, name: str, state: State
) -> tuple[str, dict[str, float]]:
    """Put back the floors that can be measured by now; returns those that still cannot."""
    if name != state.name:
        return text, {}
    measurable = _measurable(name)
    remaining: dict[str, float] = {}
    for metric, floor in state.removed_floors.items():
        if metric in values.section(GateConfig).floors:
            continue
        if metric not in measurable:
            remaining[metric] = floor
            continue
        text = params_text.add_key(text, f"gate.floors.{metric}", floor)
        print(f"params.yaml: gate.floors.{metric}: {floor} is back: it can be measured now")
    return text, remaining


def _apply(text: str, changes: list[Change]) -> str:
    for change in changes:
        if change.new is None:
            text = params_text.remove_key(text, change.key)
        else:
            text = params_text.replace_value(text, change.key, change.new)
    return text


def _explain(origin: Origin, num_documents: int, changes: list[Change]) -> None:
    print(f"\nadopted: {num_documents} documents as the source {origin.name} of params.yaml")
    if changes:
        print("\nthresholds of params.yaml that your documents would have broken:")
    for change in changes:
        print(f"  {change.describe()}")
    print(
        f"""
what the model learns and is judged by until you have questions of your own: the sample's, which
teach reading ({reading_set.FOLDER}; examples.use_reading_set). The sample itself lies in
{sets.folder(sets.SAMPLE)}; `python -m pipelines adopt --back` brings it back

next
  make run                              index your documents, train, evaluate, judge
  python -m pipelines draft             let a model propose questions about your documents
  python -m pipelines draft --review --who YOU      decide on them
  git add -A data params.yaml && git commit         keep it
                                        (much data: first `dvc add {origins.RAW / origin.name}`)"""
    )
