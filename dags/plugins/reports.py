"""The page Reports of a run: what it left in `.state/run_reports/<run>`, or what is in its checkout while it goes on. For users who may see the DAG's runs."""

import html
from pathlib import Path

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse, HTMLResponse

from pipelines.checkouts.names import run_name

STATE = Path(__file__).resolve().parents[2] / ".state"
TITLES = {
    "worst_answers.html": "answers, worst first",
    "verdict.json": "the gate's verdict, rule by rule",
    "scores.json": "scores with intervals",
    "retrieval.json": "retrieval alone",
    "approval_brief.md": "what was shown for approval",
    "run.json": "who started the run, overridden values",
}
# A report shows what documents and models hold: it may style itself, but do nothing in Airflow's name.
HEADERS = {"Content-Security-Policy": "sandbox allow-scripts allow-popups", "X-Content-Type-Options": "nosniff"}
app = FastAPI(title="Reports", dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))])


@app.get("/{dag_id}/{run_id}", response_class=HTMLResponse)
def page(dag_id: str, run_id: str) -> str:
    """Links to the run's reports, the ones that people read first. They open in the tab itself: Airflow's frame forbids new windows."""
    folder = _folder(dag_id, run_id)
    validations = [path.relative_to(folder).as_posix() for path in folder.glob("validation_docs/validations/**/*.html")]
    there = [*validations, *(path for path in TITLES if (folder / path).is_file())]
    rest = sorted(path.relative_to(folder).as_posix() for path in folder.glob("**/*") if path.suffix in (".html", ".json", ".csv", ".md") and "validation_docs" not in path.parts)
    rows = [(path, TITLES.get(path, "validation of the documents" if path in validations else "")) for path in [*there, *(path for path in rest if path not in there)]]
    items = "".join(f'<li><a href="{html.escape(f"{run_id}/{path}")}">{html.escape(path)}</a> {html.escape(title)}</li>' for path, title in rows)
    return f"<!doctype html><meta charset=utf-8><title>Reports</title><style>body {{ font: 15px/1.8 system-ui, sans-serif; margin: 1.5rem; background: #fff; color: #1b1f24 }}</style><h3>Reports of {html.escape(run_id)}</h3><ul>{items or 'none yet'}</ul>"


@app.get("/{dag_id}/{run_id}/{path:path}")
def report(dag_id: str, run_id: str, path: str) -> FileResponse:
    """One file, which cannot lie outside the run's reports."""
    folder = _folder(dag_id, run_id)
    wanted = (folder / path).resolve()
    if not wanted.is_relative_to(folder.resolve()) or not wanted.is_file():
        raise HTTPException(404, "this run has no such report")
    return FileResponse(wanted, headers=HEADERS, media_type="text/plain; charset=utf-8" if wanted.suffix in (".md", ".csv") else None)


def _folder(dag_id: str, run_id: str) -> Path:
    name = run_name(dag_id, run_id)
    return next((folder for folder in (STATE / "run_reports" / name, STATE / "runs" / name / "data/reports") if folder.is_dir()), STATE / "run_reports" / name)


class Reports(AirflowPlugin):
    """Mounts the page and shows it as a tab of every run."""

    name = "reports"
    fastapi_apps = [{"app": app, "url_prefix": "/reports", "name": "Reports"}]
    external_views = [{"name": "Reports", "href": "/reports/{DAG_ID}/{RUN_ID}", "destination": "dag_run", "url_route": "reports"}]
