"""Names of runs and of their files. Standard library only: Airflow's environment imports it."""

import re

BRIEF = "data/reports/approval_brief.md"  # what is shown for approval
PAGE = "data/reports/release.html"  # what every decision about the candidate saw


def run_name(dag: str, run_id: str) -> str:
    """The run's name, unique in the clone and valid as a file name and as a branch name.

    Airflow's ids hold colons, which Git refuses, and runs of different DAGs may have the same id.
    """
    return re.sub(r"[^A-Za-z0-9-]+", "-", f"{dag}-{run_id}").strip("-")
