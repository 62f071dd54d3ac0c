"""What a run takes over from runs before it: the newest champion, and the newest results, so that DVC finds unchanged stages done."""

from pathlib import Path

from pipelines import graph
from pipelines.checkouts import tree
from pipelines.checkouts.git import call, git, show

LEDGER_BRANCH = "releases"
CHAMPION = ["models/champion.json", "models/champion.dvc", "models/.gitignore"]


def take(run: tree.Run) -> None:
    """Both, committed on the run's branch and brought into its folder. The caller has entered the run."""
    if run.remote:
        call(Path.cwd(), "fetch", "--quiet", run.remote, f"{LEDGER_BRANCH}:{LEDGER_BRANCH}", "--tags")
    source, taken = _results(run)
    tree.record(run, taken, f"Take over the results of {source}")
    tree.materialise(run.folder)
    tree.pipelines(run.folder, "champion")
    tree.record(run, CHAMPION, "Take over the newest champion")


def _results(run: tree.Run) -> tuple[str, list[str]]:
    """dvc.lock of the run recorded last, and the small results that Git holds. DVC compares them with this commit's files; what differs is made anew."""
    clone = Path.cwd()
    places = ["refs/heads/runs/", *([f"refs/remotes/{run.remote}/runs/"] if run.remote else [])]  # other machines' runs count too
    branches = git(clone, "for-each-ref", "--sort=-committerdate", "--format=%(refname:short)", *places).splitlines()
    source = next((branch for branch in branches if not branch.endswith(run.branch) and show(clone, branch, "dvc.lock") is not None), None)
    if source is None:
        return "", []
    outs = [out for stage in graph.read(run.folder / "dvc.yaml").values() for out in stage.outs]
    paths = ["dvc.lock", *git(clone, "ls-tree", "-r", "--name-only", source, "--", *outs).splitlines()]
    git(run.folder, "restore", f"--source={source}", "--", *paths)
    return source, paths
