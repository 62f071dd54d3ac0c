"""What a run takes over from runs before it: the newest champion, and the newest results, so that DVC finds unchanged stages done."""

from pathlib import Path

from pipelines import graph
from pipelines.checkouts import tree
from pipelines.checkouts.git import call, git, show
from pipelines.errors import Refusal

RELEASED = "releases"  # branch of the clone whose tip holds the newest champion
LEDGER = "models/releases.jsonl"
CHAMPION = (LEDGER, "models/champion.dvc", "models/.gitignore")


def take(run: tree.Run) -> None:
    """Both, committed on the run's branch and brought into its folder. The caller has entered the run."""
    tree.record(run, _champion(run), "Take over the newest champion")
    source, taken = _results(run)
    tree.record(run, taken, f"Take over the results of {source}")
    tree.materialise(run.folder)


def _champion(run: tree.Run) -> list[str]:
    """Raises Refusal where the ledgers of this commit and of branch `releases` contradict each other."""
    clone = Path.cwd()
    if run.remote:
        call(clone, "fetch", "--quiet", run.remote, f"+{RELEASED}:{RELEASED}")
    newest, own = show(clone, RELEASED, LEDGER), (run.folder / LEDGER).read_text(encoding="utf-8")
    if newest is None or own.strip().startswith(newest.strip()):
        return []
    if not newest.strip().startswith(own.strip()):
        raise Refusal(f"refused: {LEDGER} of this run's commit and of branch {RELEASED} name different releases. Merge them: `git merge {RELEASED}`, keep every line, commit, and start the run anew")
    return _fetched(run.folder, RELEASED, [path for path in CHAMPION if show(clone, RELEASED, path) is not None])


def _results(run: tree.Run) -> tuple[str, list[str]]:
    """dvc.lock of the run recorded last, and the small results that Git holds. DVC compares them with this commit's files; what differs is made anew."""
    clone = Path.cwd()
    branches = git(clone, "for-each-ref", "--sort=-committerdate", "--format=%(refname:short)", "refs/heads/runs/").splitlines()
    source = next((branch for branch in branches if branch != run.branch and show(clone, branch, "dvc.lock") is not None), None)
    if source is None:
        return "", []
    outs = [out for stage in graph.read(run.folder / "dvc.yaml").values() for out in stage.outs]
    return source, _fetched(run.folder, source, ["dvc.lock", *git(clone, "ls-tree", "-r", "--name-only", source, "--", *outs).splitlines()])


def _fetched(folder: Path, source: str, paths: list[str]) -> list[str]:
    git(folder, "restore", f"--source={source}", "--", *paths)
    return paths
