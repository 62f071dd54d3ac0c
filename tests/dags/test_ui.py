"""Airflow's UI in headless Chromium: a person starts a run, watches it, another one approves it."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.dags.conftest import Airflow, git

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
SHOTS = os.environ.get("AIRFLOW_SCREENSHOTS")  # folder for the handbook's pictures

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
)


@pytest.fixture(scope="module")
def login(airflow: Airflow) -> Iterator[Callable[[str], Page]]:
    """A page of the UI where this user is logged in."""
    passwords = json.loads((airflow.folder / ".state/airflow/passwords.json").read_text())
    expect.set_options(timeout=60_000)  # a busy machine shows pages late
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def open_page(user: str) -> Page:
            page = browser.new_context(viewport={"width": 1120, "height": 760}).new_page()
            page.set_default_timeout(60_000)
            page.goto(f"http://127.0.0.1:{airflow.port}/")
            page.fill("input[name=username]", user)
            page.fill("input[name=password]", passwords[user])
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/")
            return page

        yield open_page
        browser.close()


def take_shot(page: Page, name: str) -> None:
    if SHOTS:
        page.wait_for_timeout(1500)
        page.screenshot(path=f"{SHOTS}/{name}.png")


@pytest.mark.slow
def test_a_person_changes_one_value_runs_and_another_person_approves(
    airflow: Airflow, login: Callable[[str], Page]
) -> None:
    site = f"http://127.0.0.1:{airflow.port}"
    page = login("admin")
    page.goto(f"{site}/dags/train")
    for group in ("checkout", "knowledge", "model", "decision", "approve", "release"):
        expect(page.get_by_text(group, exact=True).first).to_be_visible()
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_text("export: ").click()
    take_shot(page, "airflow-form")
    field = page.locator("[name='element_export.max_batch_size']")
    expect(field).to_have_value("16")
    field.fill("8")
    field.blur()
    page.get_by_role("button", name="Trigger").last.click()
    page.wait_for_url("**/dags/train/runs/manual*")
    newest = airflow.get("/api/v2/dags/train/dagRuns?order_by=-run_after&limit=1")
    run = newest["dag_runs"][0]["dag_run_id"]
    run_page = f"{site}/dags/train/runs/{quote(run, safe='')}"
    airflow.wait_for_approval(run)

    approver = login("ada")
    approver.goto(f"{run_page}/tasks/approve/required_actions")
    expect(approver.get_by_text("worst answers")).to_be_visible()
    take_shot(approver, "airflow-approval")
    reason = approver.locator("[name='element_why']")
    reason.fill("seen in the browser")
    reason.blur()
    approver.get_by_role("button", name="Approve").last.click()
    assert airflow.final_state("train", run) == "success"

    page.goto(run_page)
    expect(page.get_by_text("Success").first).to_be_visible()
    check_record(airflow.folder)
    check_reports(page, run_page)


def check_record(folder: Path) -> None:
    """The ledger says who approved and why; the run's branch holds the one overridden value."""
    ledger = git(folder, "show", "releases:models/releases.jsonl").splitlines()
    event = json.loads(ledger[-1])
    assert (event["kind"], event["who"], event["why"]) == ("released", "ada", "seen in the browser")
    newest_first = ("--sort=-committerdate", "--count=1", "--format=%(refname:short)")
    branch = git(folder, "for-each-ref", *newest_first, "refs/heads/runs/").strip()
    record = json.loads(git(folder, "show", f"{branch}:data/reports/run.json"))
    assert record["who"] == "admin"
    assert record["overrides"] == [{"key": "export.max_batch_size", "before": 16, "after": 8}]


def check_reports(page: Page, run_page: str) -> None:
    """The run's tab Reports lists its reports, and one of them opens."""
    page.goto(f"{run_page}/plugin/reports")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_text("worst_answers.html")).to_be_visible()
    frame.get_by_text("worst_answers.html").click()
    expect(frame.get_by_text("Answers of the candidate, worst first")).to_be_visible()
    take_shot(page, "airflow-reports")
