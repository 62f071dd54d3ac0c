"""The page Reports of a run in Airflow, for users who may see the DAG's runs.

It lists what the run left in `.state/run_reports/<run>`; while the run goes on, what is in its
checkout.
"""

from pathlib import Path
from typing import NamedTuple

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse, HTMLResponse

from pipelines.pages import render
from pipelines.runs.names import run_name

STATE = Path(__file__).resolve().parents[2] / ".state"
TITLES = {
    "worst_answers.html": "answers, worst first",
    "release.html": "what every decision about the release saw",
    "verdict.json": "the gate's verdict, rule by rule",
    "scores.json": "scores with intervals",
    "retrieval.json": "retrieval alone",
    "approval_brief.md": "what was shown for approval",
    "run.json": "who started the run, overridden values",
}
VALIDATION_TITLE = "validation of the documents"
VALIDATION_PAGES = "validation_docs/validations/**/*.html"
SUFFIXES = (".html", ".json", ".csv", ".md")
# A report shows what documents and models contain: it may style itself, but not act in Airflow's
# name.
HEADERS = {
    "Content-Security-Policy": "sandbox allow-scripts allow-popups",
    "X-Content-Type-Options": "nosniff",
}
MAY_SEE_RUNS = Depends(requires_access_dag("GET", DagAccessEntity.RUN))
app = FastAPI(title="Reports", dependencies=[MAY_SEE_RUNS])


class Link(NamedTuple):
    """A line of the page."""

    path: str  # in the folder of reports
    title: str
    href: str


@app.get("/{dag_id}/{run_id}", response_class=HTMLResponse)
def page(dag_id: str, run_id: str) -> str:
    """Links to the run's reports, first those that people read first.

    They open in the tab itself: Airflow's frame forbids new windows.
    """
    links = []
    for path, title in _titles(_reports_folder(dag_id, run_id)).items():
        links.append(Link(path, title, f"{run_id}/{path}"))
    return render("run_reports.html.j2", run_id=run_id, reports=links)


@app.get("/{dag_id}/{run_id}/{path:path}")
def report(dag_id: str, run_id: str, path: str) -> FileResponse:
    """One file, which cannot lie outside the run's reports."""
    folder = _reports_folder(dag_id, run_id).resolve()
    file = (folder / path).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise HTTPException(404, "this run has no such report")
    media_type = "text/plain; charset=utf-8" if file.suffix in (".md", ".csv") else None
    return FileResponse(file, headers=HEADERS, media_type=media_type)


def _reports_folder(dag_id: str, run_id: str) -> Path:
    name = run_name(dag_id, run_id)
    finished_run = STATE / "run_reports" / name
    checkout = STATE / "runs" / name / "data/reports"
    return checkout if checkout.is_dir() and not finished_run.is_dir() else finished_run


def _titles(folder: Path) -> dict[str, str]:
    """The title of each report by its path, in the order of the page; most have none."""
    titles: dict[str, str] = {}
    for path in sorted(folder.glob(VALIDATION_PAGES)):
        titles[path.relative_to(folder).as_posix()] = VALIDATION_TITLE
    for name, title in TITLES.items():
        if (folder / name).is_file():
            titles[name] = title
    for path in sorted(folder.glob("**/*")):
        if path.suffix in SUFFIXES and "validation_docs" not in path.parts:
            titles.setdefault(path.relative_to(folder).as_posix(), "")
    return titles


class Reports(AirflowPlugin):
    """Mounts the page and shows it as a tab of every run."""

    name = "reports"
    fastapi_apps = [{"app": app, "url_prefix": "/reports", "name": "Reports"}]
    external_views = [
        {
            "name": "Reports",
            "href": "/reports/{DAG_ID}/{RUN_ID}",
            "destination": "dag_run",
            "url_route": "reports",
        }
    ]
