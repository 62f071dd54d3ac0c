"""Brings what remote sources hold now into a run's checkout, as a version that DVC keeps.

The run's branch holds the pointer, so that the run can be repeated with the same documents, and the
next run begins with this snapshot: an unchanged page is not downloaded again.
"""

from pipelines.config import params
from pipelines.config.ingest import IngestConfig
from pipelines.corpus.snapshots import FOLDER, is_remote
from pipelines.runs import child_command, data, work_trees
from pipelines.runs.work_trees import Run

POINTER = f"{FOLDER}.dvc"
FILES_IN_GIT = [POINTER, f"{FOLDER.parent}/.gitignore"]


def fetch(run: Run) -> None:
    """Fetch every remote source of the run's params.yaml; nothing happens if there is none.

    Raises the error of `python -m pipelines fetch` if a source cannot be read. What was fetched
    until then stays in the checkout, and the same task goes on from there.
    """
    with work_trees.enter(run) as folder:
        sources = params.load(folder / "params.yaml").section(IngestConfig).sources
        if not any(map(is_remote, sources)):
            print("params.yaml: ingest.sources has no remote source: nothing to fetch")
            return
        child_command.run(folder, "fetch")
        data.dvc(folder, "add", "--quiet", str(FOLDER))
        if data.default_remote(folder):
            data.dvc(folder, "push", "--quiet", POINTER)
        work_trees.record(run, FILES_IN_GIT, "What the remote sources held")
