"""What a new run takes over: the newest champion, and the results of the run before it.

With those results DVC recognises the stages that are unchanged.
"""

from pathlib import Path

from pipelines import graph
from pipelines.decision.ledger import BRANCH as LEDGER_BRANCH
from pipelines.runs import child_command, data, work_trees
from pipelines.runs.fetching import POINTER
from pipelines.runs.work_trees import Run
from pipelines.system import git

CHAMPION = ["models/champion.json", "models/champion.dvc", "models/.gitignore"]
LOCK = "dvc.lock"


def take(run: Run) -> None:
    """Commit both on the run's branch and bring them into its folder.

    The caller has entered the run.
    """
    if run.remote:
        git.call("fetch", "--quiet", run.remote, f"{LEDGER_BRANCH}:{LEDGER_BRANCH}", "--tags")
    source = _newest_results(run)
    if source:
        results = _restore_results(run.folder, source)
        work_trees.record(run, results, f"Take over the results of {source}")
    data.materialise(run.folder)
    child_command.run(run.folder, "champion")
    work_trees.record(run, CHAMPION, "Take over the newest champion")


def _newest_results(run: Run) -> str | None:
    """The branch of the run that was recorded last and has results; other machines' runs count."""
    refs = ["refs/heads/runs/"]
    if run.remote:
        refs.append(f"refs/remotes/{run.remote}/runs/")
    options = ("--sort=-committerdate", "--format=%(refname:short)")
    for branch in git.output("for-each-ref", *options, *refs).splitlines():
        if not branch.endswith(run.branch) and git.file_at(branch, LOCK) is not None:
            return branch
    return None


def _restore_results(folder: Path, source: str) -> list[str]:
    """Copy dvc.lock and the small results that Git holds from the branch `source`.

    So is the pointer to what remote sources held. DVC compares all with this commit's files; a
    stage that differs runs again.
    """
    outs: list[str] = []
    for stage in graph.read(folder / "dvc.yaml").values():
        outs += stage.outs
    listing = git.output("ls-tree", "-r", "--name-only", source, "--", *outs, POINTER)
    paths = [LOCK, *listing.splitlines()]
    git.output("restore", f"--source={source}", "--", *paths, folder=folder)
    return paths
