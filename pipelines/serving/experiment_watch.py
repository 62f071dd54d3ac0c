"""Watches an experiment for the live server: a release that does harm loses its askers at once."""

import time

from pipelines.serving import (
    canary,
    experiment_findings,
    experimenting,
    live_routes,
    live_server,
    locations,
    recent_traffic,
)
from pipelines.serving import experiment_record as records
from pipelines.serving.experiment_record import Experiment
from pipelines.serving.live_comparison import LiveComparison
from pipelines.serving.triton_connection import Triton

LOOK_SECONDS = 10.0  # of traffic between two looks at the guard rails


class ExperimentWatch:
    """Feeds new requests to the guard rails of the experiment that is under way, if any."""

    def __init__(self) -> None:
        self._experiment: Experiment | None = None
        self._comparison: LiveComparison | None = None
        self._last_look = 0.0

    def look(self, triton: Triton) -> None:
        """End the experiment if a guard rail fails; cheap without one, and between two looks."""
        if time.time() - self._last_look < LOOK_SECONDS:
            return
        previous, self._last_look = self._last_look, time.time()
        experiment = records.read()
        if experiment is None or not experiment.is_under_way:
            self._experiment = None
            return
        if experiment != self._experiment:
            self._experiment = experiment
            self._comparison = experiment_findings.begin_guard_rails(experiment)
            previous = experiment.start
        self._route(experiment, triton)
        self._judge(experiment, max(experiment.start, previous - canary.LATE_SECONDS))

    def _route(self, experiment: Experiment, triton: Triton) -> None:
        """A start that was killed between its record and its routes is completed."""
        if live_routes.read().shares == experiment.shares:
            return
        if experiment.new in live_server.loaded_releases(triton):
            live_routes.write(experiment.shares)

    def _judge(self, experiment: Experiment, since: float) -> None:
        assert self._comparison is not None, "there is one for each experiment"
        folder = locations.traffic_folder()
        rows = recent_traffic.requests(folder, since)
        self._comparison.add(rows, recent_traffic.thumbs(folder, experiment.start))
        report = self._comparison.judge().report
        if not report.passed:
            experimenting.end_by_itself(experiment, report.reason)
