"""`python -m pipelines summary`: what the last run made, in a form that a person reads. Reads small JSON files alone."""

import json
from pathlib import Path
from typing import Any

from pipelines import graph

REPORTS = Path("data/reports")
LOOK = {
    "data/reports/worst_answers.html": "the candidate's answers, worst first",
    "data/reports/corpus.html": "the corpus: counts, rejections, a map of the passages",
    "data/reports/validation_docs/index.html": "Great Expectations' data docs",
    "data/reports/verdict.json": "every rule of the gate",
    "models/triton": "the Triton model repository",
}


def run(since: float = 0.0, stopped: bool = False) -> None:
    """Print documents, index, scores, verdict, release and seconds a stage. `since`: stages that ended later have run just now."""
    print("\n" + "=" * 100)
    if stopped:
        print("STOPPED: a stage failed; its reason is above. What follows is the state before it. The same command continues.\n")
    _documents()
    _scores()
    _verdict()
    _seconds(since)
    print("\nlook at")
    for path, what in LOOK.items():
        if Path(path).exists():
            print(f"  {path:42} {what}")
    print("\nnext")
    print('  python -m pipelines search "how do I add documents?"    the passages that the index finds')
    print("  python -m pipelines release --who YOU --why REASON      make this candidate the champion, if it was accepted")
    print("  edit params.yaml, then make run                         only the stages that read what changed run again")
    print("=" * 100)


def _loaded(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _documents() -> None:
    validation, embedding, index = _loaded(REPORTS / "validation.json"), _loaded(REPORTS / "embedding.json"), _loaded(Path("data/index.json"))
    count = next((check["observed"] for check in validation.get("checks", []) if check["name"] == "number of documents"), "none")
    taken = _loaded(REPORTS / "ingestion.json")
    if taken.get("rejected"):
        stages = ", ".join(f"{number} at {stage}" for stage, number in taken["rejected_at"].items())
        print(f"rejected    {taken['rejected']} ({stages}): data/rejections.parquet says why")
    redaction = _loaded(REPORTS / "redaction.json")
    if redaction.get("documents_changed"):
        types = ", ".join(f"{number} {name}" for name, number in redaction["by_type"].items() if number)
        print(f"redacted    {types} in {redaction['documents_changed']} documents")
    print(f"documents   {count}; validation: {validation.get('reason', 'not run')}")
    if embedding:
        print(f"chunks      {embedding['chunks']}; vectors reused {embedding['reused']}, made {embedding['made']} ({embedding['precision']})")
    if index:
        print(f"collection  {index['collection']}: {index['num_objects']} objects, encoder {index['encoder']['model']}")


def _scores() -> None:
    scores = _loaded(REPORTS / "scores.json")
    if not scores:
        return
    systems = scores["systems"]
    print(f"\nscores on {scores['num_questions']} golden questions (mean [95 % interval])")
    print(f"  {'':22}" + "".join(f"{name:>26}" for name in systems))
    for metric in ("exact_match", "token_f1", "rouge_l", "embedding_similarity", "groundedness", "refusal_recall", "hit_at_1", "hit_at_5", "ndcg_at_10"):
        print(f"  {metric:22}" + "".join(f"{_shown(system['metrics'][metric]):>26}" for system in systems.values()))


def _shown(met: dict[str, Any]) -> str:
    return "-" if met["value"] is None else f"{met['value']:.3f} [{met['low']:.3f}, {met['high']:.3f}]"


def _verdict() -> None:
    verdict, release = _loaded(REPORTS / "verdict.json"), _loaded(Path("models/triton/release.json"))
    if verdict:
        print(f"\nverdict     {verdict['reason']}")
    if release and verdict.get("accepted") and release["adapter"] == verdict["candidate"]:
        print(f"release     {release['release_id']} in models/triton (not yet the champion: `python -m pipelines release`)")


def _seconds(since: float) -> None:
    print("\nseconds by stage")
    rows = [(name, _loaded(Path(".state/seconds") / f"{name}.json")) for name in graph.read()]
    shown = [f"{name} {row['seconds']:.0f}" if row["ended"] >= since else f"{name} unchanged" for name, row in rows if row]
    print("  " + ", ".join(shown))
    print(f"  {sum(row['seconds'] for _, row in rows if row and row['ended'] >= since):.0f} s in all, imports of each stage's own process not counted")
