"""Commit the results of the last run, and push data and commit to the remotes that there are."""

import argparse

from pipelines import graph
from pipelines.runs import saving


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--why", required=True, help="the commit's message: why these results")


def run(why: str) -> None:
    outcome = saving.save(why)
    if outcome.commit:
        print(f"committed {outcome.num_files} files: {outcome.commit[:12]}")
    else:
        print("nothing to commit: dvc.lock, metrics and reports are as the last commit has them")
    if outcome.dvc_remote:
        print(f"pushed the data to the DVC remote {outcome.dvc_remote}")
        for name in graph.unpushed(graph.read()):
            print(f"  {name} stays here: dvc.yaml marks it `push: false`")
    else:
        print("no data was pushed: there is no DVC remote (`dvc remote add --default NAME URL`)")
    if outcome.git_remote:
        print(f"pushed {outcome.branch} to the Git remote {outcome.git_remote}")
    elif outcome.branch is None:
        print("the commit was not pushed: no branch is checked out (`git switch -c NAME`)")
    else:
        print("the commit was not pushed: there is no Git remote (`git remote add origin URL`)")
