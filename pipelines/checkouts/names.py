"""Names of runs, from Airflow's ids. Standard library only: Airflow's own environment imports it."""

import re


def run_name(dag: str, run: str) -> str:
    """Unique in the clone and fit for a file and a branch: Airflow's ids hold colons, which Git refuses, and runs of different DAGs may have one id."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", f"{dag}-{run}").strip("-")
