"""The HTML page of a release: what every decision about it saw. And the list of all releases.

Everything comes from the ledger and its commits, so any clone that has the branch can write it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipelines import files
from pipelines.contracts.release_steps import ReleaseSteps, StepResult
from pipelines.contracts.verdict import Verdict
from pipelines.decision import evidence_plot, ledger, release_files, step_results
from pipelines.decision.ledger import Event
from pipelines.pages import render
from pipelines.system import git

FOLDER = Path("data/reports/releases")
LIST = "index.html"
VERDICT = "data/reports/verdict.json"
# What each step asks. A step that is not listed is shown under its own name.
MEANINGS = {
    "gate": ("Gate", "Is the candidate good enough on the golden questions?"),
    "infra validation": ("Proof", "Does a fresh server answer as was evaluated?"),
    "shadow": ("Shadow", "Asked the same questions out of sight, is it worse than the old one?"),
    "canary": ("Canary", "With a growing share of the users, is it worse than the old one?"),
    "experiment": ("A/B test", "With a share of the askers for days, is it better?"),
}
KINDS = {
    "approved": "approved",
    "compared": "compared",
    "overridden": "override used",
    "refused": "refused",
    "released": "released",
    "rolled_back": "rolled back",
}
BAD = ("refused", "rolled_back")


class Subject(NamedTuple):
    """What a page is about. `address_of_list`: of the page of all releases, if it is beside it.

    `papers`: name and address of the model card and the list of parts, likewise.
    """

    release_id: str
    standing: str
    address_of_list: str | None
    papers: Mapping[str, str] = {}


def write(*release_ids: str | None) -> list[Path]:
    """Write the pages of releases, also of candidates that were refused, and the list of all.

    What the ledger does not know gets no page.
    """
    paths: list[Path] = []
    for release_id in filter(None, release_ids):
        page = render_page(release_id, LIST, _write_papers(release_id))
        if page is not None:
            paths.append(FOLDER / f"{release_id}.html")
            files.write_text(paths[-1], page)
    _write_list(ledger.read())
    return paths


def write_all() -> list[Path]:
    """The page of each release that the ledger names."""
    return write(*dict.fromkeys(event.release_id for event in ledger.read()))


def _write_papers(release_id: str) -> dict[str, str]:
    """Model card and list of parts beside the release's page; address of each by its name."""
    addresses: dict[str, str] = {}
    for name, text in release_files.papers(release_id).items():
        addresses[name] = f"{release_id}.{name}"
        files.write_text(FOLDER / addresses[name], text)
    return addresses


def write_to(path: Path, release_id: str) -> None:
    """The same page without the list beside it, such as among the reports of a run."""
    page = render_page(release_id)
    if page is not None:
        files.write_text(path, page)


def write_candidate(path: Path, release_id: str, verdict: Verdict) -> None:
    """Before anybody decides: what the gate saw."""
    gate = step_results.of_gate(verdict, "")
    attempt = ReleaseSteps(
        release_id=release_id, candidate=verdict.candidate, begun="", steps=[gate]
    )
    page = _render(Subject(release_id, "not released", None), [], [attempt])
    files.write_text(path, page)


def render_page(
    release_id: str, address_of_list: str | None = None, papers: Mapping[str, str] | None = None
) -> str | None:
    """The page; None if nothing is known about such a release."""
    events = ledger.read()
    attempts = step_results.attempts(release_id) or _recorded_gate(release_id)
    candidates = {event.candidate for event in events if event.release_id == release_id}
    candidates |= {attempt.candidate for attempt in attempts}
    own = [event for event in events if _is_about(event, release_id, candidates)]
    if not attempts and not own:
        return None
    standing = _standing(release_id, events)
    subject = Subject(release_id, standing, address_of_list, papers or {})
    return _render(subject, own, attempts)


def _is_about(event: Event, release_id: str, candidates: set[str | None]) -> bool:
    """Also decisions from before the candidate was exported under its id."""
    if event.release_id is not None:
        return event.release_id == release_id
    return event.candidate is not None and event.candidate in candidates


def _recorded_gate(release_id: str) -> list[ReleaseSteps]:
    """Of a release from before the steps were kept: the verdict that lies in its commit."""
    text = git.file_at(release_files.tag(release_id), VERDICT)
    release = ledger.find_release(release_id)
    if text is None or release is None:
        return []
    gate = step_results.of_gate(Verdict.model_validate_json(text), release.when)
    return [
        ReleaseSteps(
            release_id=release_id, candidate=release.candidate, begun=release.when, steps=[gate]
        )
    ]


def _standing(release_id: str, events: Sequence[Event]) -> str:
    live = [event.champion.release_id for event in events if event.champion]
    if live and live[-1] == release_id:
        return "live"
    return "was live" if release_id in live else "never live"


def _render(subject: Subject, events: Sequence[Event], attempts: Sequence[ReleaseSteps]) -> str:
    newest_first: list[dict[str, Any]] = []
    for attempt in reversed(attempts):
        steps = [_section(step) for step in attempt.steps]
        newest_first.append({"begun": attempt.begun, "steps": steps})
    return render(
        "release.html.j2",
        subject=subject,
        events=events,
        kinds=KINDS,
        bad=BAD,
        attempts=newest_first,
    )


def _section(result: StepResult) -> dict[str, Any]:
    """A step for the template: the violations first, its plots drawn."""
    title, question = MEANINGS.get(result.step, (result.step.capitalize(), ""))
    return {
        "result": result,
        "title": title,
        "question": question,
        "checks": sorted(result.checks, key=lambda check: check.passed),
        "drawings": [evidence_plot.draw(plot) for plot in result.plots if plot.curves],
    }


def _write_list(events: Sequence[Event]) -> None:
    """Every line of the ledger, newest first, with a link to the page where there is one."""
    pages = {path.stem for path in FOLDER.glob("*.html")}
    live = [event for event in events if event.champion]
    page = render(
        "releases.html.j2",
        events=list(reversed(events)),
        pages=pages,
        live=live[-1] if live else None,
        kinds=KINDS,
        bad=BAD,
    )
    files.write_text(FOLDER / LIST, page)
